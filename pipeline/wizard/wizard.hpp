// 4d2kms wizard: the pages of R16-R22 in a browser on this machine, over the same stages and the same settings as the
// command line. What a person chooses becomes options of the command line; what is started is a pipeline::Run.
//
// The process holds the state for as long as it lives and moves the mail itself: the browser only looks on. Killed and
// started again it knows what was chosen (STATE/wizard.json), but no password: that is asked for again.
#pragma once

#include "pipeline/cli/options.hpp"

namespace pipeline::wizard {

// To its end, which the person chooses; the exit code of the process.
int run_wizard(const CommandLine& line);

}  // namespace pipeline::wizard
