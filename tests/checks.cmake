# Rules about the sources themselves.
add_test(NAME check_format COMMAND ${CMAKE_SOURCE_DIR}/scripts/format --check)
set_tests_properties(check_format PROPERTIES LABELS checks WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
foreach(check check_layers check_coawait check_proofs)
  add_test(NAME ${check} COMMAND ${CMAKE_SOURCE_DIR}/scripts/${check})
  add_test(NAME ${check}_self_test COMMAND ${CMAKE_SOURCE_DIR}/scripts/${check} --self-test)
  set_tests_properties(${check} ${check}_self_test PROPERTIES LABELS checks WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
endforeach()
