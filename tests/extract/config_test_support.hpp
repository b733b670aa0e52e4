// What the tests of extract/config share: files in a folder of their own, and the stored fixtures.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "extract/config/source_config.hpp"

namespace extract::test {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "4d2kms-config-XXXXXX").string();
    if (!mkdtemp(pattern.data())) std::abort();
    path_ = pattern;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::string path() const { return path_.string(); }
  std::string write(const std::string& name, std::string_view content) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
    return file.string();
  }

 private:
  std::filesystem::path path_;
};

// From this file's place, or from FIXTURES_4D where the sources have been moved.
inline std::string fixture(const std::string& name) {
  if (const char* moved = std::getenv("FIXTURES_4D")) return std::string(moved) + "/" + name;
  return (std::filesystem::path(__FILE__).parent_path() / "../../fixtures/4d" / name).lexically_normal().string();
}

inline const SourceAccount* account(const SourceConfiguration& configuration, std::string_view address) {
  for (const auto& po : configuration.post_offices)
    for (const auto& a : po.accounts)
      if (a.address == address) return &a;
  return nullptr;
}

inline std::size_t migratable(const SourceConfiguration& configuration) {
  std::size_t n = 0;
  for (const auto& po : configuration.post_offices)
    n += static_cast<std::size_t>(
        std::count_if(po.accounts.begin(), po.accounts.end(), [](const auto& a) { return a.skip_reason.empty(); }));
  return n;
}

inline bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

// The twelve that can be migrated, of fixtures/4d/README.md.
struct Known {
  const char* address;
  const char* password;
};
inline constexpr Known kTwelve[] = {
    {"anna@north.example", "Winter-2003"},
    {"bjorn@north.example", "p\xC3\xA4\"ss\\w %{6}"},
    {"carla@north.example", "a<b&c>'d"},
    {"dirk.smith@north.example", "7 Zwerge im Wald"},
    {"elena@south.example", "Sommer.04"},
    {"frank@south.example", "correct horse"},
    {"gina@south.example", "{SHA}not-a-hash"},
    {"hugo+list@south.example", "p\xC3\xA4\xC3\x9Fw\xC3\xB6rt-\xC3\xB8-\xE6\x97\xA5\xE6\x9C\xAC"},
    {"ines@lab.example", "Pipette#5"},
    {"jan_b@lab.example", "50%off;today,only"},
    {"kim@lab.example", "\"quoted\""},
    {"lars@lab.example", "back\\slash\\"},
};

}  // namespace extract::test
