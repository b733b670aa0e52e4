// What the tool itself costs an octet: framing, parsing, commands, fingerprints.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "base/fingerprint.hpp"
#include "base/result.hpp"
#include "imap/protocol/engine.hpp"

namespace {

constexpr std::size_t kRead = 64 * 1024;  // as much as a session reads at once

// A mail of about `size` octets, in lines as mail has them.
std::string mail(std::size_t size) {
  std::string out =
      "From: a@example.org\r\nTo: b@example.org\r\nSubject: a mail\r\nMessage-ID: <1@example.org>\r\n\r\n";
  while (out.size() < size) out += "The quick brown fox jumps over the lazy dog, and over the other dog as well.\r\n";
  return out;
}

// `count` answers to UID FETCH (UID FLAGS INTERNALDATE BODY[]).
std::string bodies(int count, const std::string& octets) {
  std::string out;
  for (int i = 1; i <= count; ++i)
    out += fmt::format(
        "* {} FETCH (UID {} FLAGS (\\Seen $Forwarded) INTERNALDATE \"17-Jul-2020 02:44:25 +0000\" BODY[] {{{}}}\r\n{})"
        "\r\n",
        i, i + 1000, octets.size(), octets);
  return out;
}

// `count` answers as an inventory gets them.
std::string list(int count) {
  std::string out;
  for (int i = 1; i <= count; ++i)
    out += fmt::format(
        "* {} FETCH (UID {} FLAGS (\\Seen $Forwarded) INTERNALDATE \"17-Jul-2020 02:44:25 +0000\" RFC822.SIZE "
        "5123)\r\n",
        i, i + 1000);
  return out;
}

// Feeds `wire` as a session would; calls `each` with every response.
template <class Each>
void frames(const std::string& wire, Each each) {
  imap::Framer framer;
  for (std::size_t at = 0; at < wire.size(); at += kRead) {
    framer.feed(std::string_view(wire).substr(at, kRead));
    for (auto frame = base::or_throw(framer.next()); frame; frame = base::or_throw(framer.next()))
      if (auto* response = std::get_if<imap::Response>(&*frame)) each(std::move(*response));
  }
}

std::string wire_of(std::int64_t kind) {
  return kind == 0 ? list(10000) : kind == 1 ? bodies(2000, mail(4096)) : bodies(8, mail(1 << 20).substr(0, 1 << 20));
}
const char* name_of(std::int64_t kind) {
  return kind == 0 ? "10000 list lines" : kind == 1 ? "2000 bodies of 4 KiB" : "8 bodies of 1 MiB";
}

void framer(benchmark::State& state) {
  const std::string wire = wire_of(state.range(0));
  std::int64_t count = 0;
  for (auto _ : state) frames(wire, [&](imap::Response r) { count += r.text.empty() ? 0 : 1; });
  state.SetLabel(name_of(state.range(0)));
  state.SetItemsProcessed(count);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(wire.size()));
}
BENCHMARK(framer)->DenseRange(0, 2);

void framer_and_parser(benchmark::State& state) {
  const std::string wire = wire_of(state.range(0));
  std::int64_t count = 0;
  for (auto _ : state)
    frames(wire, [&](imap::Response r) {
      const auto parsed = base::or_throw(imap::parse_response(std::move(r)));
      const auto* untagged = std::get_if<imap::Untagged>(&parsed);
      if (untagged == nullptr || !std::holds_alternative<imap::Fetched>(*untagged)) state.SkipWithError("not a FETCH");
      ++count;
    });
  state.SetLabel(name_of(state.range(0)));
  state.SetItemsProcessed(count);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(wire.size()));
}
BENCHMARK(framer_and_parser)->DenseRange(0, 2);

// A MULTIAPPEND of a window: built, and its octets collected as a session writes them.
void append_serializer(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const int window = size > 100'000 ? 2 : 50;
  const std::string octets = mail(size);
  std::vector<std::string> flags;
  flags.emplace_back("\\Seen");
  flags.emplace_back("$Forwarded");
  std::int64_t sent = 0;
  for (auto _ : state) {
    imap::Engine engine(imap::Access::read_write, "x");
    engine.use_literals(imap::LiteralMode::plus);
    imap::Command command(imap::Verb::append);
    command.string("Archive/2019");
    for (int i = 0; i < window; ++i) command.flags(flags).string("17-Jul-2020 02:44:25 +0000").body(octets);
    engine.submit(std::move(command));
    for (auto pieces = engine.output(); !pieces.empty(); pieces = engine.output())
      for (const auto piece : pieces) sent += static_cast<std::int64_t>(piece.size());
  }
  state.SetItemsProcessed(state.iterations() * window);
  state.SetBytesProcessed(sent);
}
BENCHMARK(append_serializer)->Arg(4096)->Arg(1 << 20);

// E0 and E1 of a body from the source; with `always`, as for one read from the target, E1x too.
void fingerprints(benchmark::State& state) {
  const std::string octets = mail(static_cast<std::size_t>(state.range(0)));
  const auto when = state.range(1) ? base::Fingerprinter::E1x::always : base::Fingerprinter::E1x::if_8bit;
  for (auto _ : state) benchmark::DoNotOptimize(base::fingerprint(octets, when));
  state.SetLabel(state.range(1) ? "E0 E1 E1x" : "E0 E1");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(octets.size()));
}
BENCHMARK(fingerprints)->ArgsProduct({{4096, 1 << 20}, {0, 1}});

}  // namespace

BENCHMARK_MAIN();
