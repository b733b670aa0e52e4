// What a power cut leaves of the files below one folder. Stands between this process and the kernel (it defines open,
// write, fsync and the like for the test's executable), so SQLite's own VFS and the files that the product writes by
// itself are held to the same rule: only fsync makes contents durable, and only an fsync of the folder makes a name
// durable, or its absence.
//
//   PowerLoss disk(folder);                    // what is there now is durable
//   disk.cut_before(17);                       // or disk.cut(): nothing from there on reaches the disk
//   ... run the product, close its files ...
//   disk.lose_power(seed);                     // the folder becomes what a cut at that moment could have left
//
// One at a time. Seen are the calls of SQLite and of the product; not those inside glibc and libstdc++ (fopen, fstream,
// std::filesystem): files written so are left as they are.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace test {

class PowerLoss {
 public:
  explicit PowerLoss(const std::string& root);
  ~PowerLoss();
  PowerLoss(const PowerLoss&) = delete;
  PowerLoss& operator=(const PowerLoss&) = delete;

  // Before the n-th operation from now: one that makes, writes, shortens, syncs or removes something.
  void cut_before(std::uint64_t n);
  void cut();
  bool off() const;
  std::uint64_t operations() const;  // since the last loss
  // From now on an fsync says yes and does nothing, until the next loss of power.
  void lie();

  enum class Order : std::uint8_t {
    any,     // each unsynced write is kept, dropped or torn by itself, each unsynced name or removal kept or dropped
    prefix,  // all up to some moment, nothing after it
  };
  // Every file below the folder must be closed. Afterwards the power is on again.
  void lose_power(std::uint64_t seed, Order order = Order::any);

  // For the functions that stand in front of the kernel's.
  void opened(int fd, const std::string& path, bool created, bool emptied);
  void closed(int fd);
  void wrote(int fd, std::uint64_t offset, std::string_view octets);
  void shortened(int fd, std::uint64_t size);
  void synced(int fd);
  void made_folder(const std::string& path);
  void removed(const std::string& path);
  bool holds(const std::string& path) const;

 private:
  struct Change {
    std::uint64_t when;
    std::uint64_t offset;  // for a truncation: the new size
    std::string octets;
    bool truncates;
  };
  struct File {
    bool folder = false;
    std::string durable;
    std::vector<Change> unsynced;
  };
  using FilePtr = std::shared_ptr<File>;  // null: no such file
  struct Name {
    FilePtr durable;
    std::vector<std::pair<std::uint64_t, FilePtr>> unsynced;
    FilePtr now() const { return unsynced.empty() ? durable : unsynced.back().second; }
  };
  struct Open {
    FilePtr file;
    std::string path;
  };
  bool counts();
  void power_on();

  mutable std::mutex mutex_;
  std::string root_;
  std::map<std::string, Name> names_;
  std::map<int, Open> open_;
  std::uint64_t operations_ = 0, cut_before_ = 0;
  bool off_ = false, lies_ = false;
};

}  // namespace test
