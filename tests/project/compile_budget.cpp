// What a user's compiler pays: runs it on <gradus/gradus.h> alone and on a training script, and measures processor time
// and memory. Prints the goals; fails beyond twice the goal, because machines differ and are shared.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace {

struct Cost {
  int status;        // of the compiler, 0 is success
  double seconds;    // user time of the compiler and the programs that it started
  double megabytes;  // the largest of them
};

struct Budget {
  const char* what;
  double seconds, megabytes;
};

constexpr int repetitions = 3;
constexpr double tolerated = 2;

Cost run(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = fork();
  if (child == 0) {
    execvp(arguments[0], arguments.data());
    _exit(127);
  }
  Cost cost{-1, 0, 0};
  rusage usage{};
  if (child < 0 || wait4(child, &cost.status, 0, &usage) != child) return cost;
  cost.seconds = static_cast<double>(usage.ru_utime.tv_sec) + 1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
  cost.megabytes = static_cast<double>(usage.ru_maxrss) / 1024;
  return cost;
}

// The best of a few runs, so that a busy machine does not fail the test.
bool within(const Budget& budget, const std::vector<std::string>& command) {
  Cost best{0, 1e9, 1e9};
  for (int i = 0; i < repetitions; ++i) {
    Cost cost = run(command);
    if (cost.status != 0) {
      std::printf("%-34s does not compile\n", budget.what);
      return false;
    }
    best.seconds = std::min(best.seconds, cost.seconds);
    best.megabytes = std::min(best.megabytes, cost.megabytes);
  }
  bool good = best.seconds <= tolerated * budget.seconds && best.megabytes <= tolerated * budget.megabytes;
  bool goal = best.seconds <= budget.seconds && best.megabytes <= budget.megabytes;
  std::printf("%-34s %5.2f s (goal %.1f) %5.0f MB (goal %.0f)  %s\n", budget.what, best.seconds, budget.seconds,
              best.megabytes, budget.megabytes,
              goal   ? "goal met"
              : good ? "above the goal, tolerated"
                     : "FAILED");
  return good;
}

}  // namespace

// usage: compile_budget COMPILER INCLUDE-DIR SCRIPT.cpp...
int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string compiler = argv[1], include = std::string("-I") + argv[2];
  const std::string probe = "compile_budget_header.cpp", object = "compile_budget_script.o";
  std::ofstream(probe) << "#include <gradus/gradus.h>\n";

  bool good = within({"<gradus/gradus.h>", 0.6, 300}, {compiler, "-std=c++20", "-fsyntax-only", include, probe});
  for (int i = 3; i < argc; ++i) {
    std::string name = argv[i];
    name = name.substr(name.rfind('/') + 1) + " at -O2";
    good &= within({name.c_str(), 3, 300}, {compiler, "-std=c++20", "-O2", include, "-c", argv[i], "-o", object});
  }
  std::remove(probe.c_str());
  std::remove(object.c_str());
  return good ? 0 : 1;
}
