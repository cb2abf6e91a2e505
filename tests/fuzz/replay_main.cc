// SPDX-License-Identifier: GPL-2.0-or-later
// Runs a fuzz target over its corpus and over simple mutations of it, for compilers without libFuzzer.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  std::vector<std::vector<std::uint8_t>> inputs{{}};
  for (int i = 1; i < argc; ++i) {
    if (!std::filesystem::exists(argv[i])) {
      std::fprintf(stderr, "corpus %s is missing\n", argv[i]);
      return 1;
    }
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path(), std::ios::binary);
      inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
  }
  if (inputs.size() < 2) {
    std::fprintf(stderr, "the corpus is empty: nothing would be tested\n");
    return 1;
  }
  std::mt19937 random(116);
  std::size_t runs = 0;
  for (const auto& seed : inputs) {
    LLVMFuzzerTestOneInput(seed.data(), seed.size());
    ++runs;
    for (int round = 0; round < 300 && !seed.empty(); ++round, ++runs) {
      auto bytes = seed;
      unsigned edits = 1 + random() % 4;
      for (unsigned e = 0; e < edits && !bytes.empty(); ++e) {
        std::size_t at = random() % bytes.size();
        switch (random() % 4) {
          case 0: bytes[at] = static_cast<std::uint8_t>(random()); break;
          case 1: bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ (1u << (random() % 8))); break;
          case 2: bytes.resize(at); break;
          default: bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::uint8_t>(random()));
        }
      }
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
  }
  std::printf("%zu inputs replayed, %zu runs, no fault\n", inputs.size() - 1, runs);
  return 0;
}
