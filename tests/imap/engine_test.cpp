#include "imap/protocol/engine.hpp"

#include "base/text.hpp"
#include "tests/imap/script.hpp"

namespace imap {
namespace {

Engine engine_(Access access = Access::read_write, Limits limits = {}) { return Engine(access, "A", limits); }

INSTANTIATE_TEST_SUITE_P(Sizes, EveryChunk, ::testing::Values(1, 2, 7, 65536));

TEST_P(EveryChunk, AppendRefusedForQuotaKeepsTheSessionAndTheResponseCode) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  const auto p = play(e, {C("A1 NOOP"), S("* 3 FETCH (BODY[] {5}\r\na}\r\nb)"), S("A1 NO [OVERQUOTA] Mailbox is full")},
                      GetParam());
  ASSERT_EQ(p.events.size(), 2u);
  EXPECT_EQ(untagged<Fetched>(p.events[0]).octets, "a}\r\nb");
  EXPECT_EQ(std::get<Answer>(p.events[1]).tagged.code.name, "OVERQUOTA");
  EXPECT_EQ(std::get<Answer>(p.events[1]).tagged.verbatim(), "NO [OVERQUOTA] Mailbox is full");
  EXPECT_TRUE(e.idle());
}

TEST_P(EveryChunk, FetchGivesUidFlagsDateSizeAndBodyInAnyOrder) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  const auto p = play(e,
                      {C("A1 NOOP"),
                       S("* 12 FETCH (BODY[] {3}\r\nx\r\n UID 9 RFC822.SIZE 3 INTERNALDATE \"17-Jul-1996 02:44:25 "
                         "-0700\" MODSEQ (12) FLAGS (\\Seen $Forwarded))"),
                       S("* 13 FETCH (UID 10 BODY[] \"quoted\")"), S("* 14 FETCH (UID 11 BODY[] NIL)"),
                       S("* 15 FETCH (UID 12 BODY[HEADER.FIELDS (A B)] {2}\r\nab)"), S("A1 OK done")},
                      GetParam());
  ASSERT_EQ(p.events.size(), 5u);
  const auto& f = untagged<Fetched>(p.events[0]);
  EXPECT_EQ(f.uid->value, 9u);
  EXPECT_EQ(f.octets, "x\r\n");
  EXPECT_EQ(*f.size, 3u);
  EXPECT_EQ(*f.internal_date, "17-Jul-1996 02:44:25 -0700");
  EXPECT_EQ(f.flags->size(), 2u);
  EXPECT_EQ(untagged<Fetched>(p.events[1]).octets, "quoted");
  EXPECT_EQ(untagged<Fetched>(p.events[2]).body, BodyKind::nil) << "an expunged message is no empty message";
  EXPECT_EQ(untagged<Fetched>(p.events[3]).body, BodyKind::absent) << "a section is not the body";
}

TEST_P(EveryChunk, LiteralContentIsNeverReadAsAResponse) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  const std::string evil = "A1 OK done\r\n* BYE\r\n";
  const auto p =
      play(e,
           {C("A1 NOOP"), S("* 1 FETCH (UID 1 BODY[] {" + std::to_string(evil.size()) + "}\r\n" + evil + ")"),
            S("A1 OK done")},
           GetParam());
  ASSERT_EQ(p.events.size(), 2u);
  EXPECT_EQ(untagged<Fetched>(p.events[0]).octets, evil);
}

TEST_P(EveryChunk, LargeBodyLeavesInChunksAndIsMarkedStreamed) {
  Limits small;
  small.inline_literal = 10;
  Engine e = engine_(Access::read_only, small);
  e.submit(Command(Verb::noop));
  const std::string body(1000, 'x');
  const auto p =
      play(e, {C("A1 NOOP"), S("* 1 FETCH (UID 7 BODY[] {1000}\r\n" + body + ")"), S("A1 OK done")}, GetParam());
  EXPECT_EQ(p.streamed, body);
  ASSERT_EQ(p.events.size(), 3u);
  EXPECT_EQ(std::get<LargeLiteral>(p.events[0]).size, 1000u);
  EXPECT_EQ(untagged<Fetched>(p.events[1]).body, BodyKind::streamed);
}

TEST_P(EveryChunk, StatusTextThatLooksLikeALiteralIsText) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  const auto p = play(e, {C("A1 NOOP"), S("* OK look at {5}"), S("A1 OK done {7}")}, GetParam());
  ASSERT_EQ(p.events.size(), 2u);
  EXPECT_EQ(untagged<StatusLine>(p.events[0]).text, "look at {5}");
}

TEST_P(EveryChunk, ListKeepsNamesWithSpacesQuotesLiteralsAndNilDelimiter) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  const auto p = play(e,
                      {C("A1 NOOP"), S("* LIST (\\HasNoChildren \\Sent) \"/\" \"a \\\"b\\\\\""),
                       S("* LIST () NIL INBOX"), S("* LSUB () \".\" {3}\r\na b"), S("A1 OK done")},
                      GetParam());
  ASSERT_EQ(p.events.size(), 4u);
  EXPECT_EQ(untagged<ListItem>(p.events[0]).name, "a \"b\\");
  EXPECT_EQ(untagged<ListItem>(p.events[0]).attributes[1], "\\sent");
  EXPECT_FALSE(untagged<ListItem>(p.events[1]).delimiter.has_value());
  EXPECT_EQ(untagged<ListItem>(p.events[2]).name, "a b");
  EXPECT_TRUE(untagged<ListItem>(p.events[2]).lsub);
}

TEST_P(EveryChunk, SynchronisingLiteralWaitsForPlus) {
  Engine e = engine_();
  e.submit(std::move(Command(Verb::append).string("INBOX").body("hello")));
  const auto p =
      play(e, {C("A1 APPEND \"INBOX\" {5}"), S("+ go"), C("hello"), S("A1 OK [APPENDUID 1 2] done")}, GetParam());
  EXPECT_EQ(std::get<Answer>(p.events.back()).tagged.code.arguments, "1 2");
  EXPECT_EQ(p.unsent, "");
}

TEST_P(EveryChunk, LiteralRefusedIsReportedAndItsOctetsNeverLeave) {
  Engine e = engine_();
  e.submit(std::move(Command(Verb::append).string("INBOX").body("hello")));
  const auto p = play(e, {C("A1 APPEND \"INBOX\" {5}"), S("A1 NO [TOOBIG] no")}, GetParam());
  EXPECT_TRUE(std::get<Answer>(p.events.back()).literal_refused);
  EXPECT_EQ(p.unsent, "");
}

TEST_P(EveryChunk, NonSynchronisingLiteralsLeaveAtOnceWhereOffered) {
  Engine e = engine_();
  e.use_literals(LiteralMode::plus);
  e.submit(std::move(Command(Verb::append).string("INBOX").flags({"\\Seen"}).body("hello").flags({}).body("you")));
  const auto p =
      play(e, {C_raw("A1 APPEND \"INBOX\" (\\Seen) {5+}\r\nhello () {3+}\r\nyou\r\n"), S("A1 OK done")}, GetParam());
  EXPECT_TRUE(std::get<Answer>(p.events.back()).ok());
}

TEST_P(EveryChunk, LiteralMinusSynchronisesAbove4096Octets) {
  Engine e = engine_();
  e.use_literals(LiteralMode::minus);
  const std::string big(5000, 'x');
  e.submit(std::move(Command(Verb::append).string("INBOX").body(big)));
  const auto p = play(e, {C("A1 APPEND \"INBOX\" {5000}"), S("+ go"), C(big), S("A1 OK done")}, GetParam());
  EXPECT_TRUE(e.idle());
}

TEST_P(EveryChunk, AnswerToACommandThatWasNotSentEndsTheSession) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  EXPECT_NE(play(e, {S("A1 OK too early")}, GetParam()).error, "") << "S3: answered before it was asked";
  Engine f = engine_();
  f.submit(Command(Verb::noop));
  EXPECT_NE(play(f, {C("A1 NOOP"), S("A1 OK done"), S("A1 OK again")}, GetParam()).error, "") << "F14: answered twice";
  Engine g = engine_();
  EXPECT_NE(play(g, {S("+ what?")}, GetParam()).error, "") << "a continuation nobody asked for";
}

// Were it believed, a message would be taken for stored under the UID of another.
TEST_P(EveryChunk, AnAnswerThatOvertakesAnotherEndsTheSession) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  e.submit(Command(Verb::noop));
  const auto p = play(e, {C("A1 NOOP"), C("A2 NOOP"), S("A2 OK [APPENDUID 7 9] done"), S("A1 NO full")}, GetParam());
  EXPECT_NE(p.error.find("APPENDUID 7 9"), std::string::npos) << p.error;
  EXPECT_NE(p.error.find("before an earlier command"), std::string::npos) << p.error;
}

TEST_P(EveryChunk, GarbageEndsTheSessionAndUnknownResponsesDoNot) {
  Engine e = engine_();
  e.submit(Command(Verb::noop));
  const auto p = play(e,
                      {C("A1 NOOP"), S("* VANISHED 1:4294967295"), S("* 5 RECENT"), S("* SEARCH"), S("* 1 FETCH (UID)"),
                       S("A1 OK done")},
                      GetParam());
  EXPECT_EQ(p.error, "");
  EXPECT_EQ(untagged<Other>(p.events[3]).keyword, "FETCH");
  EXPECT_NE(untagged<Other>(p.events[3]).why, "")
      << "a FETCH that does not parse is told apart from one we do not need";
  Engine f = engine_();
  EXPECT_NE(play(f, {S("HTTP/1.1 400 Bad Request")}, GetParam()).error, "");
}

TEST(Engine, ReadOnlySessionsRefuseEveryCommandThatChangesSomething) {
  Engine e = engine_(Access::read_only);
  for (const Verb v : {Verb::select, Verb::create, Verb::subscribe, Verb::append, Verb::uid_store, Verb::uid_expunge})
    EXPECT_THROW(e.submit(Command(v)), base::Failed);
  for (const Verb v : {Verb::examine, Verb::list, Verb::uid_fetch, Verb::noop}) EXPECT_NO_THROW(e.submit(Command(v)));
}

TEST(Engine, HostileSizesAreRefusedWithoutGivingThemMemory) {
  Engine e = engine_();
  EXPECT_NE(play(e, {S_raw("* 1 FETCH (BODY[] {99999999999999999999}\r\n")}, 100).error, "") << "S9";
  Engine f = engine_();
  EXPECT_NE(play(f, {S_raw("* OK " + std::string(300 * 1024, 'x'))}, 65536).error, "") << "S10: a line without end";
  Engine g = engine_();
  std::string many = "* 1 FETCH (";
  for (int i = 0; i < 100; ++i) many += "X {1}\r\ny ";
  EXPECT_NE(play(g, {S_raw(many)}, 65536).error, "") << "S11: many literals";
  Engine h = engine_();
  const auto deep =
      play(h, {S("* 1 FETCH (UID 1 BODYSTRUCTURE " + std::string(1000, '(') + std::string(1000, ')') + ")")}, 65536);
  EXPECT_NE(untagged<Other>(deep.events.at(0)).why, "") << "depth";
}

TEST(Command, TextIsQuotedOrSentAsALiteralAndNeverBecomesASecondCommand) {
  Engine e = engine_();
  e.use_literals(LiteralMode::plus);
  e.submit(std::move(Command(Verb::login).string("jane").string("p\xc3\xa4\"ss\\w %{6}")));
  const auto p = play(e, {C_raw("A1 LOGIN \"jane\" {13+}\r\np\xc3\xa4\"ss\\w %{6}\r\n")}, 1);
  e = engine_();
  e.submit(std::move(Command(Verb::login).string("ja\"ne\\").string("")));
  play(e, {C("A1 LOGIN \"ja\\\"ne\\\\\" \"\"")}, 1);
  for (const std::string& evil : {std::string("a\r\nA2 DELETE INBOX"), std::string("a\nb"), std::string("a\0b", 3)})
    EXPECT_THROW(Command(Verb::create).string(evil), base::Failed);
}

TEST(Command, TracesHoldNoSecretAndNoBody) {
  EXPECT_EQ(Command(Verb::login).string("jane").string("secret").trace(), "LOGIN ***");
  EXPECT_EQ(Command(Verb::append).string("INBOX").body("private").trace().find("private"), std::string::npos);
}

TEST(Flags, OnlyAtomsAreFlags) {
  for (const char* good : {"\\Seen", "$Forwarded", "Custom", "a.b/c:d"}) EXPECT_TRUE(is_flag(good)) << good;
  for (const char* bad : {"", "\\", "foo[1]", "a b", "a\"b", "a%", "\xc3\xbc", "(x)", "a\\b"})
    EXPECT_FALSE(is_flag(bad)) << bad;
}

}  // namespace
}  // namespace imap
