# SPDX-License-Identifier: GPL-2.0-or-later
# What every target of trama has in common, and two one-line helpers to declare them.

add_library(trama_flags INTERFACE)
target_include_directories(trama_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(trama_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -fno-strict-overflow)
target_compile_definitions(trama_flags INTERFACE TRAMA_VERSION="${PROJECT_VERSION}"
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED _FILE_OFFSET_BITS=64)
if(TRAMA_WERROR)
  target_compile_options(trama_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports these inside the standard library and Boost at -O2; clang and ASan watch the same mistakes.
  target_compile_options(trama_flags INTERFACE -Wno-maybe-uninitialized -Wno-restrict -Wno-dangling-pointer
    -Wno-array-bounds -Wno-stringop-overread -Wno-stringop-overflow -Wno-mismatched-new-delete)
endif()
if(TRAMA_SANITIZE)
  # -O0 and without the checks that a sanitized address answers, too (or x86 never faults on): half the time to compile.
  target_compile_options(trama_flags INTERFACE -fsanitize=${TRAMA_SANITIZE} -fno-omit-frame-pointer -g1 -O0
    -fno-sanitize-recover=undefined -fno-sanitize=null,object-size,vptr,alignment)
  target_link_options(trama_flags INTERFACE -fsanitize=${TRAMA_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(trama_flags INTERFACE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -D_GLIBCXX_ASSERTIONS)
  target_link_options(trama_flags INTERFACE -Wl,-z,relro,-z,now)
endif()

# Tests' own code waits for kernels and processes: what optimising it takes is never earned back. (Benchmarks are no tests.)
function(trama_test_options name)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${name} PRIVATE -O1)
  endif()
endfunction()

# Every target shares one set of precompiled headers (two with GoogleTest's), so their macros must be the same everywhere.
option(TRAMA_PCH "precompile the headers that nearly every file reads" ON)
target_link_libraries(trama_flags INTERFACE Boost::json fmt::fmt spdlog::spdlog)
if(TRAMA_PCH AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(trama_flags INTERFACE -fpch-preprocess)  # so that ccache can read through it
endif()
function(trama_precompile name)
  cmake_parse_arguments(ARG "" "FROM" "" ${ARGN})
  if(NOT TRAMA_PCH)
    return()
  endif()
  if(NOT TARGET ${ARG_FROM})
    file(WRITE ${CMAKE_BINARY_DIR}/${ARG_FROM}.cc "")
    add_library(${ARG_FROM} OBJECT ${CMAKE_BINARY_DIR}/${ARG_FROM}.cc)
    target_link_libraries(${ARG_FROM} PRIVATE trama_flags OpenSSL::SSL)
    target_precompile_headers(${ARG_FROM} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/precompiled.h)
    if(ARG_FROM STREQUAL "trama_pch_test")
      trama_test_options(${ARG_FROM})
      target_link_libraries(${ARG_FROM} PRIVATE GTest::gmock GTest::gtest)
      target_precompile_headers(${ARG_FROM} PRIVATE <gmock/gmock.h> <gtest/gtest.h>)
    endif()
  endif()
  target_precompile_headers(${name} REUSE_FROM ${ARG_FROM})
  get_target_property(type ${name} TYPE)
  if(type STREQUAL "EXECUTABLE")
    target_link_libraries(${name} PRIVATE trama_asio)  # Asio's headers alone need it
  endif()
endfunction()

# trama_library(name SOURCES a.cc ... LINKS x y): a static library that sees the whole tree by root-relative includes.
function(trama_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC trama_flags ${ARG_LINKS})
  trama_precompile(${name} FROM trama_pch)
endfunction()

# trama_program(name SOURCES a.cc ... LINKS x y): an executable, likewise.
function(trama_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE trama_flags ${ARG_LINKS})
  trama_precompile(${name} FROM trama_pch)
endfunction()

# What scripts/test --quick needs.
add_custom_target(quick_tests)

# trama_test(name LABEL unit|contract|kernel|e2e SOURCES ... LINKS ...): one GoogleTest binary, one ctest entry.
function(trama_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;LINKS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE trama_flags trama_test_support ${ARG_LINKS} GTest::gmock GTest::gtest GTest::gtest_main)
  trama_test_options(${name})
  trama_precompile(${name} FROM trama_pch_test)
  if(ARG_LABEL MATCHES "unit|contract")
    add_dependencies(quick_tests ${name})
  endif()
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT}
    ENVIRONMENT "TRAMA_SOURCE_DIR=${CMAKE_SOURCE_DIR};TRAMA_BINARY=$<$<TARGET_EXISTS:trama>:$<TARGET_FILE:trama>>")
endfunction()
