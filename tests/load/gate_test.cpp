// Windows that are held back: by a limit of octets, by quiet hours. Virtual time, so that it can be counted.
#include <gtest/gtest.h>

#include <ctime>

#include "tests/support/world.hpp"

namespace {

using namespace test;
using namespace std::chrono_literals;

TEST(Gate, LimitOfOctetsIsKeptAndWhatComesIsTheSame) {
  World w;
  for (int i = 0; i < 300; ++i)
    w.source.put(World::kUser, "INBOX", mail("m" + std::to_string(i), std::string(50000, 'x') + "\r\n"));
  w.settings.tuning.max_rate = 1024 * 1024;
  EXPECT_EQ(w.run().exit, 0);
  // 15 MB; the first window, up to 2 MiB, leaves at once.
  EXPECT_GT(w.clock.now(), 11s);
  EXPECT_LT(w.clock.now(), 20s);
  w.expect_equal();
  w.expect_in_order();
}

TEST(Gate, LargeMessageIsSlowedDownInItsMiddle) {
  World w;
  std::string big = mail("big");
  while (big.size() < 8 * 1024 * 1024) big += "line of a large attachment, again and again\r\n";
  w.source.put(World::kUser, "INBOX", big);
  w.settings.tuning.max_rate = 1024 * 1024;
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_GT(w.clock.now(), 6s);
  EXPECT_LT(w.clock.now(), 12s);
  w.expect_equal();
  w.expect_in_order();
}

TEST(Gate, NothingIsSentInQuietHoursAndAllOfItAfterwards) {
  World w;
  for (int i = 0; i < 100; ++i) w.source.put(World::kUser, "INBOX", mail("m" + std::to_string(i)));
  const std::time_t now = w.clock.unix_seconds();
  std::tm local{};
  localtime_r(&now, &local);
  const int minute = local.tm_hour * 60 + local.tm_min;
  w.settings.tuning.quiet = pipeline::QuietHours{(minute + 1439) % 1440, (minute + 90) % 1440};
  bool early = false;
  w.on_step = [&](std::uint64_t) { early = early || (w.clock.now() < 88min && w.target.appends > 0); };
  EXPECT_EQ(w.run().exit, 0);
  EXPECT_FALSE(early);
  EXPECT_GE(w.clock.now(), 88min);
  EXPECT_LT(w.clock.now(), 92min);
  w.expect_equal();
  w.expect_in_order();
}

// A window that was held back because of a stop must not be overtaken by what was to follow it.
TEST(Gate, AStopWhileAWindowWaitsKeepsTheOrder) {
  for (int moment = 1; moment < 40; ++moment) {
    World w;
    std::vector<std::string> want;
    for (int i = 0; i < 40; ++i) {
      const bool refused = i % 7 == 3;
      w.source.put(World::kUser, "INBOX",
                   mail((refused ? "virus " : "m") + std::to_string(i), std::string(3000, 'x') + "\r\n"));
      if (!refused) want.push_back(w.source.bodies(World::kUser, "INBOX").back());
    }
    w.target.quirks.refuse = [](const ModelMessage& m) -> std::optional<std::string> {
      if (m.octets.find("virus") != std::string::npos) return "NO [CANNOT] virus found";
      return std::nullopt;
    };
    w.settings.tuning.max_rate = 20000;
    int slept = 0;
    w.clock.on_sleep = [&] {
      if (++slept == moment && w.stop) w.stop();
    };
    w.run();
    w.clock.on_sleep = {};
    w.settings.tuning.max_rate = 0;
    w.run();
    EXPECT_EQ(w.target.bodies(World::kUser, "INBOX"), want) << "stopped at moment " << moment;
    w.expect_in_order();
  }
}

}  // namespace
