#include "extract/config/xml_tree.hpp"

#include <fmt/format.h>
#include <tinyxml2.h>

#include <algorithm>
#include <optional>

#include "base/text.hpp"
#include "extract/config/config_file.hpp"

namespace extract {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n'; }
bool is_name_start(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == ':' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_name(char c) { return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.'; }

// Names come from the file and may be long or hostile.
std::string shown(std::string_view name) {
  return base::printable(name.size() > 60 ? std::string(name.substr(0, 57)) + "..." : std::string(name));
}

struct Fault {
  std::size_t line;
  std::string what;
};

// One linear pass over the octets that checks well-formedness as far as it matters and the caps of the header. It is
// stricter than tinyxml2, so that both see the same tags: tinyxml2 would pass over `a & b` and undefined entities as
// they are, and a password read like that would be a guess. Faults name lines, never what is written there: a password
// with a bare "<" or "&" in it is one of the ways in which a file gets damaged.
class Scan {
 public:
  explicit Scan(std::string_view text) : text_(text) {}

  std::optional<Fault> run() {
    while (!fault_ && at_ < text_.size()) {
      if (text_[at_] == '<') markup();
      else character_data();
    }
    if (!fault_ && !open_.empty())
      fail(line_,
           fmt::format("the file ends inside the element that began in line {}: it is cut short", open_.back().line));
    if (!fault_ && !root_seen_) fail(line_, "there is no XML element in it");
    return std::move(fault_);
  }

 private:
  struct Open {
    std::string_view name;
    std::size_t line;
  };

  void fail(std::size_t line, std::string what) {
    if (!fault_) fault_ = Fault{line, std::move(what)};
  }
  bool starts(std::string_view s) const { return text_.substr(at_, s.size()) == s; }
  // Goes to `to`, counting lines.
  void advance(std::size_t to) {
    for (; at_ < to; ++at_) line_ += text_[at_] == '\n';
  }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) advance(at_ + 1);
  }
  std::string_view name() {
    const auto from = at_;
    if (at_ < text_.size() && is_name_start(text_[at_]))
      while (at_ < text_.size() && is_name(text_[at_])) ++at_;
    return text_.substr(from, at_ - from);
  }
  bool allowed(char c) {
    // XML 1.0 §2.2: no control characters but tab and line ends.
    if (static_cast<unsigned char>(c) >= 0x20 || c == '\t' || c == '\n') return true;
    fail(line_, fmt::format("the octet \\x{:02X} is not allowed in XML", static_cast<unsigned char>(c)));
    return false;
  }

  // At '&'. Only the five predefined entities and character references are known; nothing is ever expanded by
  // declaration.
  void reference() {
    const auto end = text_.substr(at_, 12).find(';');
    const auto inside = end == std::string_view::npos ? std::string_view{} : text_.substr(at_ + 1, end - 1);
    if (inside.empty()) return fail(line_, "a bare \"&\" (in XML it is written \"&amp;\")");
    if (inside == "lt" || inside == "gt" || inside == "amp" || inside == "quot" || inside == "apos")
      return advance(at_ + end + 1);
    if (inside[0] != '#') return fail(line_, "an entity that is not defined (\"&\" is written \"&amp;\")");
    // Checked here in full: tinyxml2 9 answers long numbers with assertions (CVE-2024-50614, CVE-2024-50615).
    const bool is_hex = inside.size() > 1 && inside[1] == 'x';
    const auto digits = inside.substr(is_hex ? 2 : 1);
    std::uint32_t value = 0;
    bool good = !digits.empty() && digits.size() <= 7;
    for (const char c : digits) {
      const int digit = c >= '0' && c <= '9'             ? c - '0'
                        : is_hex && c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : is_hex && c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                         : -1;
      good = good && digit >= 0;
      if (!good) break;
      value = value * (is_hex ? 16 : 10) + static_cast<std::uint32_t>(digit);
    }
    good = good && (value >= 0x20 || value == 9 || value == 10 || value == 13) &&
           !(value >= 0xD800 && value <= 0xDFFF) && value <= 0x10FFFF && value != 0xFFFE && value != 0xFFFF;
    if (!good) return fail(line_, "a character reference that is not a character");
    advance(at_ + end + 1);
  }

  void character_data() {
    while (!fault_ && at_ < text_.size() && text_[at_] != '<') {
      const char c = text_[at_];
      if (open_.empty() && !is_space(c))
        return fail(line_, root_seen_ ? "text after the end of the XML" : "text before the XML begins");
      if (c == '&') {
        reference();
      } else if (allowed(c)) {
        advance(at_ + 1);
      }
    }
  }

  void markup() {
    if (starts("</")) return end_tag();
    if (++tags_ > kMaxXmlTags)
      return fail(line_, fmt::format("more than {} elements: refused", base::human_count(kMaxXmlTags)));
    if (starts("<!--")) return until("<!--", "-->", "comment");
    if (starts("<![CDATA[")) {
      if (open_.empty()) return fail(line_, "text outside the root element");
      return until("<![CDATA[", "]]>", "CDATA section");
    }
    if (starts("<?")) return until("<?", "?>", "instruction");
    if (starts("<!DOCTYPE")) return document_type();
    start_tag();
  }

  void until(std::string_view opening, std::string_view end, std::string_view what) {
    const auto from = line_;
    const auto stop = text_.find(end, at_ + opening.size());
    if (stop == std::string_view::npos) return fail(from, fmt::format("a {} that begins here never ends", what));
    while (!fault_ && at_ < stop)
      if (allowed(text_[at_])) advance(at_ + 1);
    if (!fault_) advance(stop + end.size());
  }

  void document_type() {
    const auto from = line_;
    if (root_seen_) return fail(from, "a document type after the XML has begun");
    const auto stop = text_.find('>', at_);  // as tinyxml2 does
    if (stop == std::string_view::npos) return fail(from, "a document type that begins here never ends");
    if (text_.substr(at_, stop - at_).find('[') != std::string_view::npos)
      return fail(
          from,
          "the document type declares entities or elements of its own: refused, no server configuration needs them");
    advance(stop + 1);
  }

  void start_tag() {
    const auto from = line_;
    ++at_;
    const auto tag = name();
    if (tag.empty()) return fail(from, "a \"<\" that begins no element (in XML text it is written \"&lt;\")");
    if (open_.empty() && root_seen_) return fail(from, "a second root element");
    root_seen_ = true;
    for (std::size_t attributes = 0;;) {
      const auto before = at_;
      skip_space();
      if (starts("/>")) return advance(at_ + 2);
      if (starts(">")) {
        advance(at_ + 1);
        open_.push_back({tag, from});
        if (open_.size() > kMaxXmlDepth)
          fail(from, fmt::format("elements nested more than {} deep: refused", kMaxXmlDepth));
        return;
      }
      if (at_ >= text_.size()) return fail(from, "the file ends inside a tag: it is cut short");
      const auto attribute = name();
      if (attribute.empty() || before == at_ - attribute.size())
        return fail(line_, "a damaged tag (a \"<\" in XML text is written \"&lt;\")");
      if (++attributes > kMaxXmlAttributes)
        return fail(line_, fmt::format("a tag with more than {} attributes: refused", kMaxXmlAttributes));
      if (!attribute_value()) return;
    }
  }

  bool attribute_value() {
    const auto from = line_;
    skip_space();
    const bool equals = starts("=");
    if (equals) {
      ++at_;
      skip_space();
    }
    if (!equals || !(starts("\"") || starts("'"))) {
      fail(from, "an attribute without a quoted value");
      return false;
    }
    const char quote = text_[at_++];
    while (!fault_) {
      if (at_ >= text_.size() || text_[at_] == '<') {
        fail(from, "the value of an attribute does not end");
      } else if (text_[at_] == quote) {
        ++at_;
        return true;
      } else if (text_[at_] == '&') {
        reference();
      } else if (allowed(text_[at_])) {
        advance(at_ + 1);
      }
    }
    return false;
  }

  void end_tag() {
    const auto from = line_;
    at_ += 2;
    const auto tag = name();
    skip_space();
    if (!starts(">")) return fail(from, "a damaged end tag");
    ++at_;
    if (open_.empty()) return fail(from, "an end tag that ends nothing");
    if (open_.back().name != tag)
      return fail(from,
                  fmt::format("an end tag that does not fit the element that began in line {}", open_.back().line));
    open_.pop_back();
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::size_t tags_ = 0;
  bool root_seen_ = false;
  std::vector<Open> open_;
  std::optional<Fault> fault_;
};

auto refuse(const std::string& file, std::size_t line, std::string_view what) {
  return base::fail(base::Scope::run, base::Remedy::ask_admin,
                    fmt::format("{}:{}: {}", base::printable(file), line, what));
}

// XML 1.0 §2.11: every line end is one LF. It also makes the lines of an old Mac's file (CR) countable.
void normalise_line_ends(std::string& text) {
  if (text.find('\r') == std::string::npos) return;
  std::size_t to = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') continue;
    text[to++] = text[i] == '\r' ? '\n' : text[i];
  }
  text.resize(to);
}

// The encoding of the XML declaration, "" if it names none.
std::string declared_encoding(std::string_view text) {
  if (text.substr(0, 5) != "<?xml") return {};
  const auto declaration = text.substr(0, std::min<std::size_t>(text.find("?>"), 200));
  const auto at = declaration.find("encoding");
  if (at == std::string_view::npos) return {};
  const auto open = declaration.find_first_of("\"'", at);
  if (open == std::string_view::npos) return {};
  const auto close = declaration.find(declaration[open], open + 1);
  if (close == std::string_view::npos) return {};
  return std::string(declaration.substr(open + 1, close - open - 1));
}

// Depth is bounded by the scan.
Node to_node(const tinyxml2::XMLElement& element) {
  Node node;
  node.name = element.Name();
  node.line = static_cast<std::size_t>(element.GetLineNum());
  for (const auto* a = element.FirstAttribute(); a; a = a->Next()) node.attributes.emplace_back(a->Name(), a->Value());
  for (const auto* child = element.FirstChild(); child; child = child->NextSibling()) {
    if (const auto* inner = child->ToElement()) node.children.push_back(to_node(*inner));
    else if (const auto* text = child->ToText()) node.text += text->Value();
  }
  return node;
}

// `xml` is one value of a property list (dict, array, string ...); gives it the name under which it is held.
base::Result<Node> to_plist_value(const std::string& file, Node xml, std::string name) {
  Node value;
  value.name = std::move(name);
  value.line = xml.line;
  const std::string& type = xml.name;
  if (type == "true" || type == "false") {
    value.text = type;
  } else if (type == "string" || type == "integer" || type == "real" || type == "date" || type == "data") {
    if (!xml.children.empty())
      return refuse(file, xml.children[0].line,
                    fmt::format("an element inside <{}>, which holds text in a property list", type));
    value.text = std::move(xml.text);
  } else if (type == "array") {
    for (auto& child : xml.children) {
      std::string child_type = child.name;
      TRY(auto item, to_plist_value(file, std::move(child), std::move(child_type)));
      value.children.push_back(std::move(item));
    }
  } else if (type == "dict") {
    for (std::size_t i = 0; i < xml.children.size(); i += 2) {
      if (xml.children[i].name != "key")
        return refuse(
            file, xml.children[i].line,
            fmt::format("<{}> where a <key> is due in a property list's <dict>", shown(xml.children[i].name)));
      if (i + 1 == xml.children.size() || xml.children[i + 1].name == "key")
        return refuse(file, xml.children[i].line, "a key without a value");
      TRY(auto item, to_plist_value(file, std::move(xml.children[i + 1]), std::move(xml.children[i].text)));
      value.children.push_back(std::move(item));
    }
  } else {
    return refuse(file, xml.line, fmt::format("<{}> is not a type of property lists", shown(type)));
  }
  return value;
}

}  // namespace

base::Result<XmlTree> parse_xml(std::string content, const std::string& file) {
  if (content.size() > kMaxXmlOctets)
    return refuse(file, 1, fmt::format("larger than {}: refused", base::human_octets(kMaxXmlOctets)));
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);
  if (content.starts_with("bplist"))
    return refuse(file, 1, "a binary property list; convert a copy of it with: plutil -convert xml1 FILE");
  if (content.starts_with("\xFF\xFE") || content.starts_with("\xFE\xFF"))
    return refuse(file, 1, "it is in UTF-16; convert a copy of it with: iconv -f UTF-16 -t UTF-8");
  normalise_line_ends(content);
  if (const auto bad = first_not_utf8(content); bad != std::string::npos)
    return refuse(file, line_of(content, bad),
                  "not UTF-8; convert a copy of the file with: iconv -f ITS-ENCODING -t UTF-8");
  const auto encoding = base::upper(declared_encoding(content));
  const bool ascii =
      std::all_of(content.begin(), content.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (!encoding.empty() && encoding != "UTF-8" && encoding != "UTF8" && encoding != "US-ASCII" && !ascii)
    return refuse(
        file, 1,
        fmt::format("the file says that it is in {}; convert a copy of it to UTF-8 and let its first line say so",
                    shown(encoding)));

  if (const auto fault = Scan(content).run()) return refuse(file, fault->line, fault->what);

  tinyxml2::XMLDocument document;
  if (document.Parse(content.data(), content.size()) != tinyxml2::XML_SUCCESS) {
    const auto line = static_cast<std::size_t>(std::max(document.ErrorLineNum(), 1));
    if (document.ErrorID() == tinyxml2::XML_ELEMENT_DEPTH_EXCEEDED)
      return refuse(file, line, fmt::format("elements nested more than {} deep: refused", kMaxXmlDepth - 1));
    if (document.ErrorID() == tinyxml2::XML_ERROR_PARSING_ATTRIBUTE)
      return refuse(file, line, "a tag with a damaged attribute, or with one attribute twice");
    return refuse(file, line, fmt::format("damaged XML ({})", document.ErrorName()));
  }
  const auto* root = document.RootElement();
  if (!root) return refuse(file, 1, "there is no XML element in it");

  XmlTree tree;
  tree.file = file;
  Node node = to_node(*root);
  if (node.name != "plist") {
    tree.root = std::move(node);
    return tree;
  }
  tree.format = XmlFormat::property_list;
  if (node.children.size() != 1)
    return refuse(file, node.line, fmt::format("a property list has one value, this one has {}", node.children.size()));
  TRY(tree.root, to_plist_value(file, std::move(node.children[0]), "plist"));
  return tree;
}

base::Result<XmlTree> read_xml(const std::string& path) {
  TRY(auto content, read_config_file(path, kMaxXmlOctets));
  return parse_xml(std::move(content.octets), path);
}

}  // namespace extract
