// planted_bugs NAME right|wrong [SEED]: runs one kernel of planted.h, without its mistake or with it. The sanitizers'
// builds run this: a mistake must give a report of theirs, the right form none.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "planted.h"

using gradus::emulation::run_grid;

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string name = argv[1];
  const bool bug = std::string(argv[2]) == "wrong";
  gradus::emulation::set_order({argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 0});
  std::vector<float> x(1024, 1.0f), y(1024);
  const float* from = x.data();
  float* to = y.data();
  const std::map<std::string, std::function<void()>> runs = {
      {"reverse", [&] { run_grid("reverse", 4, 256, 0, [&] { planted::reverse(from, to, bug); }); }},
      {"two_sums", [&] { run_grid("two_sums", 4, 128, 0, [&] { planted::two_sums(from, to, bug); }); }},
      {"global_overrun",
       [&] { run_grid("global_overrun", 5, 256, 0, [&] { planted::global_overrun(from, to, 1024, bug); }); }},
      {"shared_overrun", [&] { run_grid("shared_overrun", 1, 32, 0, [&] { planted::shared_overrun(to, bug); }); }},
      {"lost_update", [&] { run_grid("lost_update", 4, 64, 0, [&] { planted::lost_update(to, bug); }); }},
  };
  const auto run = runs.find(name);
  if (run == runs.end()) return 2;
  run->second();
  std::puts("finished");
  return 0;
}
