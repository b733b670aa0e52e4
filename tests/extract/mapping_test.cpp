#include "extract/config/mapping.hpp"

#include "extract/config/walker.hpp"
#include "tests/extract/config_test_support.hpp"

namespace extract {
namespace {

using test::holds;

std::string error_of(const std::string& json) {
  const auto r = parse_mapping(json, "m.json");
  return r ? "no error" : r.error().text;
}

TEST(Mapping, TheShippedOneIsMarkedAsAssumedAndIsItsOwnJson) {
  EXPECT_TRUE(default_mapping().assumed);
  EXPECT_EQ(default_mapping().main, "WSMailboxServer.prefs.xml");
  EXPECT_EQ(default_mapping().post_office_files.text, "PostOffices/[]/File");
  EXPECT_EQ(default_mapping().account_not_migrated.size(), 4u);
  const auto again = parse_mapping(std::string(default_mapping_json()), "m.json");
  ASSERT_TRUE(again) << again.error().text;
  EXPECT_FALSE(again->assumed);
  EXPECT_EQ(again->login.at.text, "AccountID");
}

TEST(Mapping, WhatAFileDoesNotMentionKeepsTheShippedValueAndNullSwitchesOff) {
  const auto m = parse_mapping(R"({"account": {"login": "@id", "full_name": null}})", "m.json");
  ASSERT_TRUE(m) << m.error().text;
  EXPECT_EQ(m->login.at.text, "@id");
  EXPECT_EQ(m->login.at.steps[0].kind, PathStep::Kind::attribute);
  EXPECT_TRUE(m->full_name.at.off());
  EXPECT_EQ(m->password.at.text, "Password");
  EXPECT_TRUE(m->account_imap_enabled.invert);
}

TEST(Mapping, PostOfficesAreInOnePlace) {
  const auto m = parse_mapping(R"({"post_offices": {"inline": "PostOffices/[]"}})", "m.json");
  ASSERT_TRUE(m) << m.error().text;
  EXPECT_TRUE(m->post_office_files.off());
  EXPECT_EQ(m->post_offices_inline.text, "PostOffices/[]");
  EXPECT_TRUE(holds(error_of(R"({"post_offices": {"inline": "a", "file": "b"}})"), "post_offices: is to hold one of"));
}

TEST(Mapping, ErrorsNameTheFileAndTheKey) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\n\"main\": 1,}", "m.json:2: not valid JSON"},
      {"{\"main\": \"a\"} x", "m.json:1: "},
      {"{\n\"imap\": {", "m.json:2: the JSON ends too early"},
      {"[]", "m.json: the mapping is not a JSON object"},
      {"{\"mian\": \"x\"}", "m.json: mian: no such key; here are: main"},
      {"{\"main\": \"../x\"}", "m.json: main: is to be the name of a file"},
      {"{\"imap\": []}", "m.json: imap: is to be an object"},
      {"{\"account\": {\"pasword\": \"x\"}}", "m.json: account.pasword: no such key"},
      {"{\"account\": {\"login\": 7}}", "m.json: account.login: is to be a path"},
      {"{\"account\": {\"login\": null}}", "m.json: account.login: may not be switched off"},
      {"{\"account\": {\"login\": \"a//b\"}}", "m.json: account.login: the path \"a//b\" has an empty name"},
      {"{\"account\": {\"login\": \"@a/b\"}}", "m.json: account.login: \"@a\" is to be the end"},
      {"{\"account\": {\"login\": {\"at\": \"a\", \"decoder\": \"plain\"}}}",
       "m.json: account.login.decoder: no such key here"},
      {"{\"account\": {\"password\": {\"at\": \"a\", \"decoder\": \"rot13\"}}}",
       "m.json: account.password.decoder: there is no decoder \"rot13\""},
      {"{\"account\": {\"imap_enabled\": {\"at\": \"a\", \"invert\": \"yes\"}}}",
       "m.json: account.imap_enabled.invert: is to be true or false"},
      {"{\"account\": {\"not_migrated\": {\"alias\": 1}}}", "m.json: account.not_migrated.alias: is to be a path"},
      {"{\"post_offices\": {\"inline\": \"a/@b\"}}", "m.json: post_offices.inline: is to lead to elements"},
  };
  for (const auto& [json, expected] : cases) EXPECT_EQ(error_of(json).find(expected), 0u) << error_of(json);
}

TEST(Mapping, NestingBeyondThirtyTwoAndFilesBeyondAMebibyteAreRefused) {
  EXPECT_TRUE(holds(error_of(std::string(500'000, '[')), "not valid JSON"));
  const test::TempFolder folder;
  const auto r = read_mapping(folder.write("m.json", "{" + std::string(1 << 20, ' ') + "}"));
  ASSERT_FALSE(r);
  EXPECT_TRUE(holds(r.error().text, "is larger than 1.0 MiB"));
}

class Paths : public testing::Test {
 protected:
  std::vector<std::string> found(const std::string& path) {
    const auto m = parse_mapping(R"({"account": {"login": ")" + path + R"("}})", "m");
    std::vector<std::string> out;
    for (const auto& hit : walker.find(tree.root, m.value().login.at)) out.emplace_back(hit.text());
    return out;
  }
  XmlTree tree =
      parse_xml("<r v='9'>\n<l><i n='1'>a</i><j n='2'>b</j><i>c</i></l>\n<k>d</k>\n<k>e</k><u x='1'><w/></u></r>", "f")
          .value();
  Walker walker{"f"};
};

TEST_F(Paths, NamesSelectAllOfThatNameAndBracketsEveryChildInOrder) {
  using V = std::vector<std::string>;
  EXPECT_EQ(found("k"), (V{"d", "e"}));
  EXPECT_EQ(found("l/[]"), (V{"a", "b", "c"}));
  EXPECT_EQ(found("l/i"), (V{"a", "c"}));
  EXPECT_EQ(found("l/[]/@n"), (V{"1", "2"}));
  EXPECT_EQ(found("l/[]/name()"), (V{"i", "j", "i"}));
  EXPECT_EQ(found("@v"), (V{"9"}));
  EXPECT_EQ(found("l/none/x"), (V{}));
}

TEST_F(Paths, WhatNoRuleUsedIsToldOnceAPathWithItsFirstLineAndNumber) {
  found("l/j");
  EXPECT_EQ(walker.unused(tree.root),
            (std::vector<std::string>{"f:1 @v", "f:2 l/i (2 times)", "f:2 l/j/@n", "f:3 k (2 times)", "f:4 u"}));
  found("k");
  found("@v");
  found("l/[]/@n");
  EXPECT_EQ(walker.unused(tree.root), (std::vector<std::string>{"f:4 u"}));
}

}  // namespace
}  // namespace extract
