// The verdict, from what is on record.
#include "pipeline/report.hpp"

#include <gtest/gtest.h>

#include "tests/support/world.hpp"

namespace pipeline {
namespace {

using state::ObjectState;

class Report : public ::testing::Test {
 protected:
  test::TempFolder folder;
  state::Store store{folder.path() + "/state", state::Store::Mode::create};

  Report() {
    state::ConfiguredPostOffice north;
    north.name = "North";
    north.domains = {"north.example", "nord.example"};
    state::save_configuration(store.db(), {north});
  }
  boost::json::object made(const std::vector<state::TargetObject>& objects) {
    state::save_objects(store.db(), objects);
    return make_report(
        store.db(), {}, state::RunRow(), [](const std::string&) { return true; }, false);
  }
};

TEST_F(Report, ADomainOrAliasOfWhichNobodyKnowsWhetherItWasMadeIsNotDone) {
  const state::TargetObject domain{"domain", "north.example", {}, ObjectState::ours, "d", {}};
  const state::TargetObject alias{"alias", "nord.example", "north.example", ObjectState::ours, {}, {}};
  EXPECT_EQ(verdict_of(made({domain, alias})).exit, base::Exit::done);
  for (auto unknown : {domain, alias}) {
    unknown.state = ObjectState::intent;
    auto report = made({domain, alias, unknown});
    const auto verdict = verdict_of(report);
    EXPECT_EQ(verdict.exit, base::Exit::incomplete) << unknown.name;
    EXPECT_NE(verdict.sentence.find("1 domain or alias not made"), std::string::npos) << verdict.sentence;
    EXPECT_NE(boost::json::serialize(report.at("domains")).find("\"state\":\"unknown\""), std::string::npos);
  }
}

}  // namespace
}  // namespace pipeline
