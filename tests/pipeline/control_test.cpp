// The protocol of the control socket, without a socket; and one real socket with a client that says nothing.
#include "pipeline/control.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <fstream>
#include <thread>

#include "tests/support/world.hpp"

namespace {

using namespace pipeline;
namespace json = boost::json;

struct Control : testing::Test {
  Tuning tuning;
  int stops = 0;
  ControlHandler handler{[] {
                           return json::object{{"stage", "copy"}};
                         },
                         [this](const json::object& r) -> base::Result<json::object> {
                           auto now = tuned(tuning, r);
                           if (!now) return tl::unexpected(now.error());
                           tuning = *now;
                           return json::object{{"jobs", tuning.jobs.value_or(0)}};
                         },
                         [this] {
                           ++stops;
                           return json::object{};
                         }};
  json::object ask(std::string_view line) { return json::parse(control_answer(handler, line)).as_object(); }
};

TEST_F(Control, EachRequestIsAnsweredInOneLineWithTheVersion) {
  const auto s = ask(R"({"4d2kms":1,"request":"status"})");
  EXPECT_EQ(json::serialize(s), R"({"4d2kms":1,"ok":true,"stage":"copy"})");
  EXPECT_TRUE(
      ask(R"({"4d2kms":1,"request":"tune","jobs":9,"max_rate":4096,"quiet_hours":"08:00-18:00"})")["ok"].as_bool());
  EXPECT_EQ(tuning.jobs, 9);
  EXPECT_EQ(tuning.max_rate, 4096u);
  EXPECT_TRUE(tuning.quiet);
  EXPECT_TRUE(ask(R"({"4d2kms":1,"request":"tune","quiet_hours":""})")["ok"].as_bool());
  EXPECT_FALSE(tuning.quiet);
  EXPECT_EQ(tuning.jobs, 9);
  EXPECT_TRUE(ask(R"({"4d2kms":1,"request":"stop"})")["ok"].as_bool());
  EXPECT_EQ(stops, 1);
}

TEST_F(Control, ALinkIsGivenOnlyByWhoHasPages) {
  EXPECT_FALSE(ask(R"({"4d2kms":1,"request":"open"})")["ok"].as_bool());
  handler.open = [] { return json::object{{"url", "http://x"}}; };
  EXPECT_EQ(ask(R"({"4d2kms":1,"request":"open"})")["url"], "http://x");
}

TEST_F(Control, WhatIsNoRequestIsRefusedInWordsAndChangesNothing) {
  for (const std::string& line : {std::string(),
                                  std::string("{"),
                                  std::string("[]"),
                                  std::string("null"),
                                  std::string(4000, '['),
                                  std::string("\xff\xfe"),
                                  std::string(R"({"request":"stop"})"),
                                  std::string(R"({"4d2kms":2,"request":"stop"})"),
                                  std::string(R"({"4d2kms":"1","request":"stop"})"),
                                  std::string(R"({"4d2kms":1,"request":["stop"]})"),
                                  std::string(R"({"4d2kms":1,"request":"STOP"})"),
                                  std::string(R"({"4d2kms":1,"request":"stop"} x)"),
                                  std::string(R"({"4d2kms":1,"request":"tune"})"),
                                  std::string(R"({"4d2kms":1,"request":"tune","jobs":0})"),
                                  std::string(R"({"4d2kms":1,"request":"tune","jobs":65})"),
                                  std::string(R"({"4d2kms":1,"request":"tune","jobs":"2"})"),
                                  std::string(R"({"4d2kms":1,"request":"tune","jobs":2,"verify":"none"})"),
                                  std::string(R"({"4d2kms":1,"request":"tune","max_rate":5})"),
                                  std::string(R"({"4d2kms":1,"request":"tune","max_rate":18446744073709551615})"),
                                  std::string(R"({"4d2kms":1,"request":"tune","quiet_hours":"all day"})")}) {
    const auto a = ask(line);
    EXPECT_FALSE(a.at("ok").as_bool()) << line;
    EXPECT_FALSE(a.at("error").as_string().empty());
    EXPECT_EQ(a.at("4d2kms").as_int64(), 1);
  }
  EXPECT_EQ(stops, 0);
  EXPECT_FALSE(tuning.jobs);
  EXPECT_EQ(tuning.max_rate, 0u);
}

TEST_F(Control, FewerConnectionsThanJobsIsWhatCounts) {
  tuning.source_connections = 2;
  tuning.jobs = 8;
  EXPECT_EQ(tuning.most_at_once(), 2);
}

TEST_F(Control, SocketIsPrivateReplacesADeadOneAndGoesWithItsOwner) {
  const test::TempFolder folder;
  const std::string path = folder.path() + "/control";
  EXPECT_FALSE(ask_control(folder.path(), {{"request", "status"}})) << "nothing there";
  std::ofstream(path) << "left over";
  boost::asio::io_context io(1);
  {
    const ControlServer server(io, folder.path(), handler);
    ASSERT_EQ(server.problem(), "");
    struct stat st {};
    ASSERT_EQ(stat(path.c_str(), &st), 0);
    EXPECT_TRUE(S_ISSOCK(st.st_mode));
    EXPECT_EQ(st.st_mode & 0777, 0600u);
    std::thread loop([&] { io.run(); });
    const auto answer = ask_control(folder.path(), {{"request", "status"}});
    EXPECT_TRUE(answer && answer->at("ok").as_bool());
    EXPECT_THROW(ask_control(folder.path(), {{"request", "nonsense"}}), base::Failed);
    io.stop();
    loop.join();
  }
  EXPECT_NE(access(path.c_str(), F_OK), 0);
  EXPECT_FALSE(ask_control(folder.path(), {{"request", "status"}}));
}

}  // namespace
