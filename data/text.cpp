// Text: whole files, and the King James Bible by way of the program that knows Debian's private file format.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <gradus/core/detail/check.h>
#include <gradus/data/detail/reader.h>
#include <gradus/data/readers.h>

namespace gradus::data {
namespace {

namespace fs = std::filesystem;
constexpr const char* install_hint = "install it with: apt-get install bible-kjv bible-kjv-text";
constexpr size_t longest_bible = 16 << 20;  // bytes; it has 4.4 million

/// The program with the folder of its data (empty: the one it was built for).
struct Bible {
  std::string program, data;
};
Bible find_bible() {
  std::error_code error;
  const fs::path root = fs::absolute("build/data-root", error);
  for (const Bible& place :
       {Bible{"/usr/bin/bible", ""}, Bible{(root / "usr/bin/bible").string(), (root / "usr/lib").string()}})
    if (access(place.program.c_str(), X_OK) == 0) return place;
  throw IoError(fmt::format("king_james_bible: no program 'bible' in /usr/bin or build/data-root; {}", install_hint));
}

/// Runs a program by its absolute path and returns what it prints. No shell is involved.
std::string output_of(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  int ends[2];
  GRADUS_CHECK(pipe2(ends, O_CLOEXEC) == 0, IoError, "king_james_bible: no pipe: {}", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failure = posix_spawn(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  std::string text;
  char buffer[1 << 16];
  ssize_t n = 0;
  while (failure == 0 && text.size() < longest_bible &&
         ((n = read(ends[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR)))
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
  close(ends[0]);
  GRADUS_CHECK(failure == 0, IoError, "king_james_bible: cannot run {}: {}", command[0], std::strerror(failure));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  GRADUS_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, IoError, "king_james_bible: {} failed ({}); {}",
               command[0], WIFEXITED(status) ? "exit code" : "a signal", install_hint);
  return text;
}

}  // namespace

std::string read_text(const std::string& path) {
  detail::Reader file("read_text", path, detail::Reader::Format::maybe_gzip);
  std::string text, buffer(1 << 20, '\0');
  while (const size_t n = file.read_some(buffer.data(), buffer.size())) text.append(buffer, 0, n);
  return text;
}

std::string king_james_bible() {
  const Bible bible = find_bible();
  std::vector<std::string> command = {bible.program, "-f"};
  if (!bible.data.empty()) command.insert(command.end(), {"-p", bible.data});
  command.push_back("Gen1:1-Rev22:21");
  const std::string lines = output_of(command);  // "Ge1:1 In the beginning ..."
  std::string text;
  text.reserve(lines.size());
  for (size_t at = 0; at < lines.size();) {
    const size_t end = std::min(lines.find('\n', at), lines.size()), space = lines.find(' ', at);
    const size_t verse = space < end ? space + 1 : at;  // behind the reference
    text.append(lines, verse, end - verse);
    text += '\n';
    at = end + 1;
  }
  GRADUS_CHECK(text.size() > 1 << 20, IoError, "king_james_bible: {} printed only {} bytes; {}", bible.program,
               lines.size(), install_hint);
  return text;
}

}  // namespace gradus::data
