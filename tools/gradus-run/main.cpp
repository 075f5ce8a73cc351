// gradus-run: starts the processes of a job, watches over them, and starts them again when one fails.
#include <exception>

#include <gradus/version.h>

#include "attempt.h"
#include "console.h"
#include "guardian.h"
#include "meeting.h"
#include "options.h"
#include "report.h"
#include "signals.h"

namespace gradus::run {
namespace {

/// Seconds that the machines of a job have to say goodbye to each other.
constexpr double farewell = 5;

int run_job(const Options& options) {
  const Guardian guardian;
  const Signals signals;
  Meeting meeting(options);
  for (int round = meeting.current_round();; ++round) {
    Plan plan;
    {
      const Signals::EndAtOnce nobody_to_stop;
      plan = meeting.meet(round);
    }
    round = plan.round;
    Attempt attempt(options, plan, meeting, guardian, signals);
    const Verdict verdict = attempt.run();
    if (verdict.failed() && verdict.may_help && round < plan.max_restarts) {
      say("{}; starting again ({} of {})", verdict.message, round + 1, plan.max_restarts);
      if (!verdict.words.empty()) say("{}", verdict.words);
      continue;
    }
    const Rows rows = meeting.leave(plan, attempt.rows(), farewell + (verdict.failed() ? options.stop_timeout : 0));
    if (verdict.failed()) write_all(STDERR_FILENO, report(verdict, rows, round + 1));
    return verdict.code;
  }
}

int main(int argc, char** argv) {
  try {
    const Options options = parse_options(argc, argv);
    if (options.help) return write_all(STDOUT_FILENO, usage) ? 0 : 1;
    if (options.version) return write_all(STDOUT_FILENO, "gradus-run " GRADUS_VERSION "\n") ? 0 : 1;
    return run_job(options);
  } catch (const UsageError& error) {
    say("{}; see gradus-run --help", error.what());
    return 2;
  } catch (const std::exception& error) {
    say("{}", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace gradus::run

int main(int argc, char** argv) { return gradus::run::main(argc, argv); }
