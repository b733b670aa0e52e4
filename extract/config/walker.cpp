#include "extract/config/walker.hpp"

#include <fmt/format.h>

#include <unordered_map>

#include "base/text.hpp"
#include "extract/config/tree_view.hpp"

namespace extract {
namespace {

constexpr std::size_t kMaxSummary = 200;  // octets

struct Unused {
  std::size_t line;
  std::string path;
  std::size_t count;
};

struct Collector {
  const std::unordered_set<const void*>& used;
  std::vector<Unused> found;
  std::unordered_map<std::string, std::size_t> index;

  void add(std::size_t line, const std::string& path) {
    const auto [at, is_new] = index.emplace(path, found.size());
    if (is_new) found.push_back({line, path, 1});
    else ++found[at->second].count;
  }
  // `node` itself is used, or the root.
  void inside(const Node& node, const std::string& path) {
    const auto below = [&](const std::string& name) { return path.empty() ? name : path + "/" + name; };
    for (const auto& [name, value] : node.attributes)
      if (!used.contains(&value)) add(node.line, below("@" + name));
    for (const auto& child : node.children) {
      if (used.contains(&child)) inside(child, below(child.name));
      else add(child.line, below(child.name));
    }
  }
};

}  // namespace

Walker::Walker(const std::string& file) : file_(base::printable(file)) {}

std::vector<Hit> Walker::find(const Node& from, const Path& path) {
  if (path.off()) return {};
  std::vector<Hit> at = {{&from, nullptr, false}};
  for (const auto& step : path.steps) {
    std::vector<Hit> next;
    for (const auto& hit : at) {
      switch (step.kind) {
        case PathStep::Kind::child:
        case PathStep::Kind::each:
          for (const auto& child : hit.node->children) {
            if (step.kind == PathStep::Kind::child && child.name != step.name) continue;
            used_.insert(&child);
            next.push_back({&child, nullptr, false});
          }
          break;
        case PathStep::Kind::attribute:
          for (const auto& [name, value] : hit.node->attributes) {
            if (name != step.name) continue;
            used_.insert(&value);
            next.push_back({hit.node, &value, false});
          }
          break;
        case PathStep::Kind::own_name:
          next.push_back({hit.node, nullptr, true});
          break;
      }
    }
    at = std::move(next);
  }
  return at;
}

std::optional<Hit> Walker::first(const Node& from, const Path& path) {
  auto hits = find(from, path);
  if (hits.empty()) return std::nullopt;
  return hits.front();
}

void Walker::use_all(const Hit& hit) {
  if (hit.attribute || hit.own_name) return;
  for (const auto& attribute : hit.node->attributes) used_.insert(&attribute.second);
  for (const auto& child : hit.node->children) {
    used_.insert(&child);
    use_all({&child, nullptr, false});
  }
}

std::string Walker::where(const Node& node) const { return fmt::format("{}:{}", file_, node.line); }

std::vector<std::string> Walker::unused(const Node& root) const {
  Collector collector{used_, {}, {}};
  collector.inside(root, "");
  std::vector<std::string> out;
  for (const auto& [line, path, count] : collector.found)
    out.push_back(fmt::format("{}:{} {}{}", file_, line, path, count > 1 ? fmt::format(" ({} times)", count) : ""));
  return out;
}

std::string summary(const Hit& hit) {
  std::string out;
  if (hit.attribute || hit.own_name || (hit.node->children.empty() && hit.node->attributes.empty())) {
    out = std::string(base::trim(hit.text()));
  } else {
    const auto add = [&](const std::string& name, const std::string& value) {
      if (out.size() < kMaxSummary) out += fmt::format("{}{}={}", out.empty() ? "" : ", ", name, value);
    };
    const auto masked = [](const std::string& name, std::string_view value) {
      return looks_secret(name) ? std::string("***") : std::string(base::trim(value));
    };
    if (const auto text = base::trim(hit.node->text); !text.empty()) out = std::string(text);
    for (const auto& [name, value] : hit.node->attributes) add(name, masked(name, value));
    for (const auto& child : hit.node->children)
      add(child.name,
          child.children.empty() ? masked(child.name, child.text) : fmt::format("[{}]", child.children.size()));
  }
  if (out.size() > kMaxSummary) {
    std::size_t cut = kMaxSummary;
    while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xC0) == 0x80) --cut;
    out.resize(cut);
    out += "...";
  }
  return out;
}

}  // namespace extract
