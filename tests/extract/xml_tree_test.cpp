#include "extract/config/xml_tree.hpp"

#include <sys/stat.h>

#include <chrono>

#include "tests/extract/config_test_support.hpp"

namespace extract {
namespace {

using test::holds;

std::string error_of(std::string content) {
  const auto r = parse_xml(std::move(content), "/etc/f.xml");
  return r ? "no error" : r.error().text;
}
std::string repeated(std::string_view s, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += s;
  return out;
}
template <class F>
std::chrono::milliseconds taken(F f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start);
}

TEST(XmlTree, GenericXmlKeepsNamesAttributesTextLinesAndDocumentOrder) {
  const auto r = parse_xml("<a x='1' b=\"&lt;\">\n <z>one</z>\n <c/>\n <z>t<!-- - -->w<![CDATA[<o>]]></z>\n</a>", "f");
  ASSERT_TRUE(r) << r.error().text;
  EXPECT_EQ(r->format, XmlFormat::generic);
  EXPECT_EQ(r->root.name, "a");
  ASSERT_EQ(r->root.attributes.size(), 2u);
  EXPECT_EQ(r->root.attributes[0], (std::pair<std::string, std::string>("x", "1")));
  EXPECT_EQ(r->root.attributes[1], (std::pair<std::string, std::string>("b", "<")));
  ASSERT_EQ(r->root.children.size(), 3u);
  EXPECT_EQ(r->root.children[0].text, "one");
  EXPECT_EQ(r->root.children[0].line, 2u);
  EXPECT_EQ(r->root.children[1].name, "c");
  EXPECT_EQ(r->root.children[2].text, "tw<o>");
  EXPECT_EQ(r->root.children[2].line, 4u);
}

TEST(XmlTree, PropertyListKeysBecomeNamesAndValuesBecomeText) {
  const auto r = parse_xml(
      "<?xml version=\"1.0\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" "
      "\"http://www.apple.com/DTDs/x.dtd\">\n"
      "<plist version=\"1.0\"><dict>\n<key>B</key><true/>\n<key>A</key><array><string> s "
      "</string><integer>7</integer></array>\n"
      "<key>N</key><dict><key>No</key><false/><key>D</key><data>QQ==</data></dict></dict></plist>",
      "f");
  ASSERT_TRUE(r) << r.error().text;
  EXPECT_EQ(r->format, XmlFormat::property_list);
  const auto& c = r->root.children;
  ASSERT_EQ(c.size(), 3u);
  EXPECT_EQ(c[0].name, "B");
  EXPECT_EQ(c[0].text, "true");
  EXPECT_EQ(c[0].line, 4u);
  EXPECT_EQ(c[1].name, "A");
  ASSERT_EQ(c[1].children.size(), 2u);
  EXPECT_EQ(c[1].children[0].text, " s ");
  EXPECT_EQ(c[1].children[1].text, "7");
  ASSERT_EQ(c[2].children.size(), 2u);
  EXPECT_EQ(c[2].children[0].text, "false");
  EXPECT_EQ(c[2].children[1].text, "QQ==");
}

TEST(XmlTree, DamagedPropertyListsNameTheLine) {
  EXPECT_EQ(error_of("<plist><dict>\n<string>x</string></dict></plist>"),
            "/etc/f.xml:2: <string> where a <key> is due in a property list's <dict>");
  EXPECT_EQ(error_of("<plist><dict>\n<key>k</key>\n<key>l</key><true/></dict></plist>"),
            "/etc/f.xml:2: a key without a value");
  EXPECT_EQ(error_of("<plist><dict>\n\n<key>k</key></dict></plist>"), "/etc/f.xml:3: a key without a value");
  EXPECT_EQ(error_of("<plist><dict/><dict/></plist>"), "/etc/f.xml:1: a property list has one value, this one has 2");
  EXPECT_EQ(error_of("<plist>\n<set/></plist>"), "/etc/f.xml:2: <set> is not a type of property lists");
}

TEST(XmlTree, DamagedXmlNamesFileAndLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"", ":1: there is no XML element"},
      {"<a>\n<b>\n", ":3: the file ends inside the element that began in line 2"},
      {"<a>\n<b>\n</a>", ":3: an end tag that does not fit the element that began in line 2"},
      {"<a>\n</a></b>", ":2: an end tag that ends nothing"},
      {"<a>\n<b", ":2: the file ends inside a tag"},
      {"<a\nb>x</a>", ":2: an attribute without a quoted value"},
      {"<a b=\"1\n", ":1: the value of an attribute does not end"},
      {"<a b='1'c='2'/>", ":1: a damaged tag"},
      {"<a b='1' b='2'/>", ":1: a tag with a damaged attribute, or with one attribute twice"},
      {"<a>\n&nbsp;</a>", ":2: an entity that is not defined"},
      {"<a>x & y</a>", ":1: a bare \"&\""},
      {"<a>&#0;</a>", ":1: a character reference that is not a character"},
      {"<a>&#xD800;</a>", ":1: a character reference that is not a character"},
      {"<a>&#99999999;</a>", ":1: a character reference that is not a character"},
      {"<a>&#x110000;</a>", ":1: a character reference that is not a character"},
      {"<a>1 < 2</a>", ":1: a \"<\" that begins no element"},
      {"<a/>\n<b/>", ":2: a second root element"},
      {"hello", ":1: text before the XML begins"},
      {"<a/>\nhello", ":2: text after the end of the XML"},
      {"<a>\n<!-- ", ":2: a comment that begins here never ends"},
      {"<a>\n<![CDATA[ ", ":2: a CDATA section that begins here never ends"},
      {"<a>\n\x1B[2J</a>", ":2: the octet \\x1B is not allowed"},
      {"<a>\r\xE4</a>", ":2: not UTF-8"},
      {"bplist00", ":1: a binary property list"},
      {"\xFF\xFE<", ":1: it is in UTF-16"},
      {"<?xml version='1.0' encoding='macintosh'?><a>\xC3\xA4</a>", ":1: the file says that it is in MACINTOSH"},
  };
  for (const auto& [xml, expected] : cases)
    EXPECT_EQ(error_of(xml).find("/etc/f.xml" + std::string(expected)), 0u) << xml << " -> " << error_of(xml);
}

TEST(XmlTree, WhatIsWrittenInADamagedFileIsNotInTheError) {
  for (const auto* xml :
       {"<Password>hunter&two;2</Password>", "<Password>a<hunter two</Password>", "<Password>a<hunter></Password>",
        "<Password>a</hunter></Password>", "<Password>a<hunter", "<a b=hunter/>"})
    EXPECT_FALSE(holds(error_of(xml), "hunter")) << error_of(xml);
}

TEST(XmlTree, LinesOfAnOldMacsFileAreCountedAndItsLineEndsNormalised) {
  const auto r = parse_xml("<a>\r<b>x\r\ny</b>\r<c/></a>", "f");
  ASSERT_TRUE(r) << r.error().text;
  EXPECT_EQ(r->root.children[0].text, "x\ny");
  EXPECT_EQ(r->root.children[1].line, 4u);
}

TEST(XmlTree, ByteOrderMarkAndAwkwardCharactersSurvive) {
  const auto r =
      parse_xml("\xEF\xBB\xBF<a><p>p\xC3\xA4\"ss\\w %{6}</p><q>&#228;&#x1F600;&amp;lt;&quot;&apos;</q></a>", "f");
  ASSERT_TRUE(r) << r.error().text;
  EXPECT_EQ(r->root.children[0].text, "p\xC3\xA4\"ss\\w %{6}");
  EXPECT_EQ(r->root.children[1].text, "\xC3\xA4\xF0\x9F\x98\x80&lt;\"'");
}

TEST(XmlTree, SixtyFourAttributesAreReadOneMoreIsRefused) {
  const auto tag = [](std::size_t n) {
    std::string xml = "<a>\n<b";
    for (std::size_t i = 0; i < n; ++i) xml += " a" + std::to_string(i) + "='/>'";
    return xml + "/></a>";
  };
  const auto r = parse_xml(tag(kMaxXmlAttributes), "f");
  ASSERT_TRUE(r) << r.error().text;
  EXPECT_EQ(r->root.children[0].attributes.size(), kMaxXmlAttributes);
  EXPECT_EQ(error_of(tag(kMaxXmlAttributes + 1)), "/etc/f.xml:2: a tag with more than 64 attributes: refused");
}

TEST(XmlTree, HundredThousandAttributesAreRefusedAtOnce) {
  std::string xml = "<a";
  for (std::size_t i = 0; i < 100'000; ++i) xml += " a" + std::to_string(i) + "='1'";
  xml += "/>";
  std::string error;
  EXPECT_LT(taken([&] { error = error_of(xml); }).count(), 1000);
  EXPECT_EQ(error, "/etc/f.xml:1: a tag with more than 64 attributes: refused");
}

TEST(XmlTree, AMillionChildrenAreRefused) {
  std::string error;
  const auto xml = "<a>" + repeated("<b/>", 1'000'000) + "</a>";
  EXPECT_LT(taken([&] { error = error_of(xml); }).count(), 5000);
  EXPECT_EQ(error, "/etc/f.xml:1: more than 200,000 elements: refused");
}

TEST(XmlTree, CommentsCountAsElementsBecauseTheyCostAsMuch) {
  EXPECT_TRUE(holds(error_of("<a>" + repeated("<!---->", 200'001) + "</a>"), "more than 200,000"));
}

TEST(XmlTree, DeepNestingIsRefusedAndSensibleNestingIsNot) {
  for (const std::size_t n : {std::size_t{99}, std::size_t{100}, std::size_t{101}, std::size_t{400'000}}) {
    const auto error = error_of(repeated("<a>", n) + repeated("</a>", n));
    EXPECT_TRUE(holds(error, "deep: refused") || (n < 101 && error == "no error")) << n << error.substr(0, 100);
  }
  EXPECT_EQ(error_of(repeated("<a>", 90) + repeated("</a>", 90)), "no error");
}

TEST(XmlTree, TagsInsideCommentsCdataAndQuotesAreNotCounted) {
  const auto inside = repeated("<x y='1'>", 250'000);
  EXPECT_EQ(error_of("<a><!--" + inside + "--></a>"), "no error");
  EXPECT_EQ(error_of("<a><![CDATA[" + inside + "]]></a>"), "no error");
  EXPECT_EQ(error_of("<a b='" + repeated("/> x=", 100'000) + "'/>"), "no error");
}

TEST(XmlTree, OwnEntitiesAreRefusedAndNeverExpanded) {
  const auto r = read_xml(test::fixture("broken/entity-bomb/PostOffices/West.xml"));
  ASSERT_FALSE(r);
  EXPECT_TRUE(holds(r.error().text, "West.xml:2: the document type declares entities")) << r.error().text;
}

TEST(XmlTree, OnlyRegularFilesUpToEightMebibytesAreRead) {
  const test::TempFolder folder;
  EXPECT_TRUE(holds(read_xml(folder.path()).error().text, "is a folder, not a file"));
  EXPECT_TRUE(holds(read_xml(folder.path() + "/none.xml").error().text, "none.xml: No such file"));
  ASSERT_EQ(mkfifo((folder.path() + "/fifo").c_str(), 0600), 0);
  EXPECT_TRUE(holds(read_xml(folder.path() + "/fifo").error().text, "is not a regular file"));
  const auto large = folder.write("large.xml", "<a>" + std::string(kMaxXmlOctets, ' ') + "</a>");
  EXPECT_TRUE(holds(read_xml(large).error().text, "is larger than 8.0 MiB"));
  const auto fits = folder.write("fits.xml", "<a>" + std::string(kMaxXmlOctets - 7, ' ') + "</a>");
  EXPECT_TRUE(read_xml(fits));
  std::filesystem::create_symlink(fits, folder.path() + "/link.xml");
  EXPECT_TRUE(read_xml(folder.path() + "/link.xml")) << "a copy made of links is fine";
}

TEST(XmlTree, EveryTruncationOfAFileIsAnErrorOrTheWholeFile) {
  const std::string xml = "<?xml version='1.0'?>\n<a b='c'><d>e&amp;f</d><!-- g --><h/><![CDATA[i]]></a>";
  for (std::size_t n = 0; n < xml.size(); ++n) EXPECT_FALSE(parse_xml(xml.substr(0, n), "f")) << n;
  EXPECT_TRUE(parse_xml(xml, "f"));
}

}  // namespace
}  // namespace extract
