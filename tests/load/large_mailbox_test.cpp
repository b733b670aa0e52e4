// Mailboxes larger than one piece of an inventory.
#include <gtest/gtest.h>

#include "tests/support/world.hpp"

namespace {

TEST(LargeMailbox, EveryPieceOfItsInventoryCounts) {
  test::World world;
  constexpr int kMessages = 8100;  // two whole pieces and a part of one
  for (int i = 0; i < kMessages; ++i) world.source.put(test::World::kUser, "INBOX", test::mail(std::to_string(i)));
  world.settings.verify = pipeline::VerifyLevel::none;
  const auto first = world.run();
  EXPECT_EQ(first.exit, 0) << first.error;
  EXPECT_EQ(world.query("SELECT count(*) FROM message WHERE state=3"), kMessages);
  world.expect_equal();
  // The pieces of a list that is short are kept too, and the mailbox is not called complete.
  world.source.quirks.short_lists = true;
  world.source.put(test::World::kUser, "INBOX", test::mail("fresh"));
  world.source.put(test::World::kUser, "INBOX", test::mail("left out"));
  EXPECT_NE(world.run().exit, 0);
  EXPECT_EQ(world.query("SELECT count(*) FROM message"), kMessages + 1);
  world.source.quirks.short_lists = false;
  EXPECT_EQ(world.run().exit, 0);
  world.expect_equal();
  world.expect_in_order();
}

}  // namespace
