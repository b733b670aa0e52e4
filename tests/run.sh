#!/bin/sh
# Installs what is needed (Debian 12, as root), builds, and runs every test: unit tests, protocol scripts, the contract against
# a model server, the crash sweep, the simulator, power cuts, mutants (a share of them each day), and the end-to-end tests on private Dovecots, Cyrus and
# Courier, and the wizard in a real Chromium, all of it under AddressSanitizer and UndefinedBehaviorSanitizer with warnings
# as errors. About half an hour on two cores.
#
#   tests/run.sh [ctest options]          e.g.  tests/run.sh -L unit
#   MAIL_CORPUS=DIR tests/run.sh          also moves the real mail (*.eml) in DIR
set -eu
cd "$(dirname "$0")/.."
. fixtures/packages.sh
need_packages $BUILD_PACKAGES $TEST_PACKAGES

cmake --preset ci
cmake --build --preset ci --parallel "$(nproc)"
[ -n "${MAIL_CORPUS:-}" ] || echo "MAIL_CORPUS is not set: NOT TESTED WITH REAL MAIL" >&2
# Halt on the first report of a sanitizer, and let no child hide one.
export ASAN_OPTIONS=abort_on_error=0:exitcode=99:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# What needs the processor counts for two of these (tests/CMakeLists.txt).
ctest --preset ci --parallel "$((2 * $(nproc)))" --no-tests=error "$@"
