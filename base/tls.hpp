// How a server is reached and how it proves who it is. Settings only; imap/client does the work.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace base {

enum class TlsMode : std::uint8_t { none, starttls, tls };

struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
  TlsMode tls = TlsMode::tls;
  std::string side;     // "source" or "target": names the options in messages
  std::string ca_file;  // PEM; empty: the system's store
  std::vector<std::string>
      pins;                      // "sha256:HEX" of the certificate; one that matches is trusted whatever its chain says
  bool allow_cleartext = false;  // beyond loopback
  std::chrono::seconds silence{300};  // no octet in either direction for so long: the connection is given up
  // Asked when the chain is not trusted and no pin is set: true = go on (loopback only: it is then pinned).
  std::function<bool(const std::string& fingerprint)> accept_unknown;
  // Told the fingerprint of the certificate that is met, before it is judged. May be empty.
  std::function<void(const std::string& fingerprint)> on_certificate;
};

// 127.0.0.0/8, ::1, "localhost": by name or number, without a look-up.
bool is_loopback(const std::string& host);

}  // namespace base
