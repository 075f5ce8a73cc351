// Every parser of what comes from outside, fed with damaged inputs: a typed error, or a result, within a second and
// within memory in proportion to the input. Some thousand inputs each here; for hours, under AddressSanitizer, by
// tools/soak.
#include <spdlog/spdlog.h>

#include "catch.h"
#include "fuzz/engine.h"
#include "soak.h"

#include <gradus/fmt.h>

namespace {

uint64_t seed() {
  const char* const given = std::getenv("GRADUS_FUZZ_SEED");
  return given ? std::stoull(given) : 1;
}
/// For looking at one parser: GRADUS_FUZZ_PARSER is a part of its name.
bool is_wanted(const fuzz::Parser& parser) {
  const char* const part = std::getenv("GRADUS_FUZZ_PARSER");
  return !part || parser.name.find(part) != parser.name.npos;
}

/// What checkpoints have to say about each damaged file would be gigabytes.
void be_quiet() {
  if (!spdlog::get("gradus")) spdlog::register_logger(std::make_shared<spdlog::logger>("gradus"));
}

std::vector<fuzz::Parser> all_parsers() {
  std::vector<fuzz::Parser> all = fuzz::file_parsers();
  for (fuzz::Parser& parser : fuzz::process_parsers()) all.push_back(std::move(parser));
  std::erase_if(all, [](const fuzz::Parser& parser) { return !is_wanted(parser); });
  return all;
}

void fuzz_all(double seconds_each, int64_t inputs_each) {
  be_quiet();
  int64_t inputs = 0;
  size_t findings = 0;
  double slowest = 0, largest = 0;
  const std::vector<fuzz::Parser> parsers = all_parsers();
  for (const fuzz::Parser& parser : parsers) {
    const Since start;
    const fuzz::Report report = fuzz::run(parser, seed(), [&](int64_t done) {
      return done < inputs_each && (done % 16 != 0 || start.seconds() < seconds_each);
    });
    fmt::print(
        "{:26} {:>9} inputs, {:>8} accepted, {:>4} answers, slowest {:.3f} s, memory {:>9} bytes, {:.1f} x input\n",
        parser.name, report.inputs, report.accepted, report.answers, report.slowest, report.most_memory,
        report.largest);
    std::fflush(stdout);
    for (const std::string& finding : report.findings) fmt::print("FOUND {}\n", finding);
    CHECK(report.findings.empty());
    CHECK(report.accepted > 0);  // the seeds at least
    inputs += report.inputs;
    findings += report.findings.size();
    slowest = std::max(slowest, report.slowest);
    largest = std::max(largest, report.largest);
  }
  fmt::print(
      "figure R6 {} inputs to {} parsers, seed {}: {} findings, target 0; slowest {:.3f} s, target < 1; memory {}, "
      "target < 8 x input\n",
      inputs, parsers.size(), seed(), findings, slowest,
#ifdef __SANITIZE_ADDRESS__
      fmt::format("{:.1f} x input and 4 MiB", largest)
#else
      "not measured without AddressSanitizer"
#endif
  );
}

}  // namespace

TEST_CASE("damaged inputs are read or refused, by every parser") { fuzz_all(1.5, 1000); }

TEST_CASE("soak: fuzz", "[.]") {
  fuzz_all(soak_seconds() / static_cast<double>(all_parsers().size()), std::numeric_limits<int64_t>::max());
}
