// Files that a person chooses in the browser: names only, and only below one folder (S33).
#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace pipeline::wizard {

struct Folder {
  struct Entry {
    std::string name;
    bool folder = false;
  };
  std::string path;            // absolute
  std::string above;           // empty: it is the root
  std::vector<Entry> entries;  // folders first, by name; without hidden ones. At most 1,000
};

class Files {
 public:
  explicit Files(const std::string& root);  // throws Failed if there is none
  const std::string& root() const { return root_; }
  // `path` empty: the root.
  base::Result<Folder> list(const std::string& path) const;
  // The real path, if it is there and below the root, wherever links lead.
  base::Result<std::string> resolve(const std::string& path) const;

 private:
  std::string root_;
};

// Octets as a file that has no name and is gone with the process: a roster has passwords in it. Throws Failed.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view octets);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const;

 private:
  int fd_;
};

}  // namespace pipeline::wizard
