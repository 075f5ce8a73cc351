// What the terminal shows: progress lines, charts, pictures, and the interrupt guard.
#include <fcntl.h>
#include <gradus/core/error.h>
#include <gradus/core/factories.h>
#include <gradus/data/display/chart.h>
#include <gradus/data/display/interrupt.h>
#include <gradus/data/display/picture.h>
#include <gradus/data/display/progress.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"

using namespace gradus;

namespace {

const Terminal plain{false, 80, false, Colors::none};
const Terminal unicode{true, 80, true, Colors::none};
const Terminal bright{true, 80, true, Colors::truecolor};

/// Sets an environment variable (nullptr: removes it) for a scope.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Environment() { set(old_ ? old_->c_str() : nullptr); }

 private:
  void set(const char* value) { value ? setenv(name_, value, 1) : unsetenv(name_); }
  const char* name_;
  std::optional<std::string> old_;
};

/// The environment of a colour terminal that shows UTF-8.
struct ColorTerminal {
  Environment term{"TERM", "xterm"}, locale{"LC_ALL", "C.UTF-8"}, no_color{"NO_COLOR", nullptr},
      columns{"COLUMNS", nullptr};
};

/// A terminal of a given width; a thread collects what is written to it.
class Pty {
 public:
  explicit Pty(unsigned short columns) : master_(posix_openpt(O_RDWR | O_NOCTTY)) {
    grantpt(master_);
    unlockpt(master_);
    fd = open(ptsname(master_), O_RDWR | O_NOCTTY);
    termios settings{};
    tcgetattr(fd, &settings);
    cfmakeraw(&settings);
    tcsetattr(fd, TCSANOW, &settings);
    const winsize size{24, columns, 0, 0};
    ioctl(fd, TIOCSWINSZ, &size);
    reader_ = std::thread([this] {
      char buffer[4096];
      for (ssize_t n; (n = read(master_, buffer, sizeof buffer)) > 0;) text_.append(buffer, static_cast<size_t>(n));
    });
  }
  ~Pty() { text(); }

  std::string text() {  // ends the terminal
    if (reader_.joinable()) {
      close(fd);
      reader_.join();
      close(master_);
    }
    return text_;
  }

  int fd = -1;

 private:
  int master_;
  std::string text_;
  std::thread reader_;
};

/// A file, so no terminal.
class Plain {
 public:
  ~Plain() { close(fd); }
  std::string text() const {
    std::string all(static_cast<size_t>(lseek(fd, 0, SEEK_END)), '\0');
    REQUIRE(pread(fd, all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()));
    return all;
  }
  int fd = memfd_create("plain", MFD_CLOEXEC);
};

/// Without colours and other control sequences.
std::string visible(const std::string& text) {
  std::string rest;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\x1b') {
      rest += text[i];
      continue;
    }
    while (i + 1 < text.size() && !std::isalpha(static_cast<unsigned char>(text[i]))) ++i;
  }
  return rest;
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) c == separator ? void(parts.emplace_back()) : parts.back().push_back(c);
  return parts;
}

/// Cells of text without wide characters.
size_t cells(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string last_line(Pty& pty) {
  const std::string text = visible(pty.text());
  REQUIRE(text.back() == '\n');
  const std::vector<std::string> lines = split(text.substr(0, text.size() - 1), '\r');
  return lines.back();
}

}  // namespace

TEST_CASE("progress: the line on a terminal") {
  const ColorTerminal environment;
  Pty pty(100);
  {
    Progress bar("epoch 3/6", 4, {.unit = "img", .fd = pty.fd});
    for (int i = 0; i < 4; ++i) bar.tick({{"loss", 0.2417}, {"acc", 0.911}}, 128);
  }
  const std::string text = pty.text(), line = last_line(pty);
  INFO(line);
  CHECK(line.rfind("epoch 3/6 ━━━━", 0) == 0);
  for (const char* part : {"━ 100% 4/4 | loss 0.2417 acc 0.9110 | ", " it/s ", " img/s | ", "0:00 | ", "B"})
    CHECK(has(line, part));
  CHECK(has(text, "\x1b[1mepoch"));
  CHECK(!has(text, "\x1b[?25l"));  // the cursor is never hidden
}

TEST_CASE("progress: a tensor's value is read when the line is drawn, and must be one") {
  const ColorTerminal environment;
  Pty pty(100);
  {
    const Tensor loss = full({}, 1.5);
    Progress bar("epoch", 2, {.fd = pty.fd});
    bar.tick({{"loss", loss}, {"count", full({1}, 7, {.dtype = int64})}});
    CHECK_THROWS_AS(bar.tick({{"loss", zeros({2})}}), ShapeError);
    loss.fill_(0.25);
  }
  CHECK(has(last_line(pty), "loss 0.2500 count 7"));
}

TEST_CASE("progress: never wider than the terminal, down to a single cell") {
  const ColorTerminal environment;
  for (unsigned short columns = 1; columns <= 110; ++columns) {
    INFO(columns);
    Pty pty(columns);
    {
      Progress bar("epoch 3/6", 468, {.fd = pty.fd});
      for (int i = 0; i < 319; ++i) bar.tick({{"loss", 0.2417}, {"acc", 0.911}}, 128);
    }
    const std::string line = last_line(pty);
    const size_t limit = std::max<size_t>(1, columns - 1u);
    REQUIRE(cells(line) <= limit);
    if (columns > 9) CHECK(line.rfind("epoch 3/6", 0) == 0);
    if (columns > 20) CHECK(has(line, "68%"));
    if (columns > 60) CHECK(cells(line) + 31 > limit);  // the bar takes what is free, up to its longest
  }
}

TEST_CASE("progress: COLUMNS comes before the width of the terminal") {
  const ColorTerminal environment;
  const Environment columns("COLUMNS", "30");
  Pty pty(100);
  Progress("epoch", 10, {.fd = pty.fd}).tick({{"loss", 1.0}});
  CHECK(cells(last_line(pty)) <= 29);
}

TEST_CASE("progress: redrawn at most twenty times a second") {
  const ColorTerminal environment;
  Pty pty(80);
  const auto start = std::chrono::steady_clock::now();
  {
    Progress bar("epoch", 20000, {.fd = pty.fd});
    for (int i = 0; i < 20000; ++i) bar.tick({{"loss", 1.0}});
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const std::string text = pty.text();
  CHECK(static_cast<double>(std::count(text.begin(), text.end(), '\r')) <= seconds * 20 + 3);
}

TEST_CASE("progress: plain lines without a terminal") {
  Plain file;
  SECTION("the end only, when it was quick") {
    Progress bar("epoch 1/6", 1000, {.fd = file.fd});
    for (int i = 0; i < 1000; ++i) bar.tick({{"loss", 0.5}});
    bar.finish();
    bar.finish();
    const std::string text = file.text();
    CHECK(text.rfind("epoch 1/6 100% 1000/1000 | loss 0.5000 | ", 0) == 0);
    CHECK(std::count(text.begin(), text.end(), '\n') == 1);
    CHECK(text.back() == '\n');
    CHECK(text.find_first_of("\r\x1b") == std::string::npos);
  }
  SECTION("a tenth of the steps, where time allows, and the end once") {
    {
      Progress bar("epoch", 1005, {.plain_interval = 0, .fd = file.fd});
      for (int i = 0; i < 1005; ++i) bar.tick();
    }
    const auto lines = split(file.text(), '\n');
    REQUIRE(lines.size() == 12);  // 100, 200, ..., 1000, 1005, and nothing behind the last newline
    CHECK(lines[0].rfind("epoch   9%  100/1005 | ", 0) == 0);
    CHECK(lines[10].rfind("epoch 100% 1005/1005 | ", 0) == 0);
  }
  SECTION("unknown number of steps") {
    {
      Progress bar("reading", 0, {.fd = file.fd});
      for (int i = 0; i < 7; ++i) bar.tick({{"loss", NAN}, {"norm", INFINITY}, {"lr", 2.1e-5}});
    }
    CHECK(file.text().rfind("reading 7 | loss nan norm inf lr 2.100e-5 | ", 0) == 0);
    CHECK(!has(file.text(), "%"));
  }
  SECTION("a resumed run counts on, more steps than said are shown as they are") {
    {
      Progress bar("epoch", 10, {.done = 8, .fd = file.fd});
      for (int i = 0; i < 4; ++i) bar.tick();
    }
    CHECK(file.text().rfind("epoch 100% 12/10 | ", 0) == 0);
  }
  SECTION("nothing happened") {
    { Progress bar("epoch", 10, {.done = 8, .fd = file.fd}); }
    CHECK(file.text().empty());
  }
  SECTION("a label cannot leave its line") {
    Progress("a\nb\x1b[2J\xff", 1, {.fd = file.fd}).tick({{"x\r", 1.0}});
    CHECK(file.text().rfind("a?b?[2J? 100% 1/1 | x? 1.000 | ", 0) == 0);
  }
}

TEST_CASE("progress: quiet, dumb and without colours") {
  const ColorTerminal environment;
  Pty pty(80);
  SECTION("quiet") {
    {
      Progress bar("epoch", 10, {.quiet = true, .fd = pty.fd});
      bar.tick({{"loss", 1.0}});
      bar.print("text");
    }
    CHECK(pty.text().empty());
  }
  SECTION("NO_COLOR") {
    const Environment no_color("NO_COLOR", "1");
    Progress("epoch", 10, {.fd = pty.fd}).tick({{"loss", NAN}});
    CHECK(!has(pty.text(), "m"));  // no colour code ends, and no word here has an m
  }
  SECTION("TERM=dumb") {
    const Environment term("TERM", "dumb");
    Progress("epoch", 10, {.fd = pty.fd}).tick({{"loss", 1.0}});
    CHECK(pty.text().find_first_of("\r\x1b") == std::string::npos);
  }
  SECTION("ASCII") {
    const Environment locale("LC_ALL", "C");
    Progress("epoch ─", 10, {.fd = pty.fd}).tick();
    const std::string line = last_line(pty);
    CHECK(line.rfind("epoch ? ===---", 0) == 0);
    CHECK(std::all_of(line.begin(), line.end(), [](char c) { return c > 0; }));
  }
}

TEST_CASE("progress: an exception ends the line, text goes above it") {
  const ColorTerminal environment;
  Pty pty(80);
  try {
    Progress bar("epoch", 10, {.fd = pty.fd});
    bar.tick();
    bar.print("saved");
    throw std::runtime_error("out of data");
  } catch (const std::runtime_error&) {
  }
  const std::string text = visible(pty.text());
  CHECK(text.back() == '\n');
  CHECK(has(text, "\rsaved\n\repoch"));
}

TEST_CASE("progress: bad numbers of steps") {
  CHECK_THROWS_AS(Progress("epoch", -1), ValueError);
  CHECK_THROWS_AS(Progress("epoch", 1, {.done = -1}), ValueError);
}

TEST_CASE("chart: a rising line goes from the lower left to the upper right") {
  const Series line{"loss", {0, 10}, {0, 1}};
  for (const Terminal& terminal : {plain, unicode}) {
    const auto rows = split(draw_chart({&line, 1}, {.columns = 40, .rows = 6, .terminal = terminal}), '\n');
    REQUIRE(rows.size() == 10);  // six, axis, its labels, legend, nothing behind the last newline
    for (const auto& row : rows) CHECK(cells(row) <= 40);
    CHECK(rows[0].find_last_not_of(' ') == rows[0].size() - 1);
    CHECK(rows[5].back() == ' ');
    if (!terminal.utf8) CHECK(rows[5].find('*') == rows[5].find('+') + 1);
    CHECK(rows[0].rfind("1.0", 0) == 0);
    CHECK(has(rows[8], "loss"));
  }
}

TEST_CASE("chart: ASCII where the output asks for it, marks where colours cannot tell curves apart") {
  const std::vector<Series> two = {{"a", {}, {1, 2, 3}}, {"b", {}, {3, 2, 1}}};
  const std::string ascii = draw_chart(two, {.title = "léss", .x_label = "step", .terminal = plain});
  CHECK(std::all_of(ascii.begin(), ascii.end(), [](char c) { return c > 0; }));
  CHECK(has(ascii, "* a  + b"));
  CHECK(has(ascii, "step\n"));
  CHECK(has(draw_chart(two, {.terminal = unicode}), "+ b"));
  CHECK(has(visible(draw_chart(two, {.terminal = bright})), "━ a  ━ b"));
}

TEST_CASE("chart: nothing, one point, gaps, extremes") {
  const auto chart = [](std::vector<double> y, int columns = 30) {
    const Series series{"", {}, std::move(y)};
    return draw_chart({&series, 1}, {.columns = columns, .rows = 5, .terminal = plain});
  };
  CHECK(has(draw_chart({}, {.terminal = plain}), "no data"));
  CHECK(has(chart({}), "no data"));
  CHECK(has(chart({NAN, INFINITY}), "no data"));
  CHECK(split(chart({2.5}), '*').size() == 2);  // one mark
  CHECK(split(chart({1, NAN, 3}), '*').size() == 3);
  CHECK(has(chart({1, NAN, 2, 3}), "*"));
  for (const auto& y :
       std::vector<std::vector<double>>{{1e308, -1e308}, {5e-324, 0}, {1, 1 + 1e-15}, {0, 0, 0}, {-1e300, 1e300}}) {
    CHECK(has(chart(y), "*"));
  }
  for (int columns = 1; columns < 20; ++columns) CHECK(has(chart({1, 2, 3}, columns), "*"));
}

TEST_CASE("chart: bad arguments") {
  const Series bad{"loss", {1, 2, 3}, {1, 2}};
  CHECK_THROWS_AS(draw_chart({&bad, 1}), ShapeError);
  CHECK_THROWS_AS(draw_chart({}, {.columns = -1}), ValueError);
  CHECK_THROWS_AS(draw_chart({}, {.rows = 0}), ValueError);
  CHECK_THROWS_AS(draw_chart({}, {.rows = 1 << 30}), ValueError);
}

TEST_CASE("smoothed: keeps what is flat, does not lag, leaves gaps") {
  const Series flat{"", {}, {2, 2, NAN, 2, INFINITY}};
  const Series smooth = smoothed(flat, 3);
  CHECK(smooth.y[0] == Approx(2));
  CHECK(smooth.y[3] == Approx(2));
  CHECK(std::isnan(smooth.y[2]));
  CHECK(smooth.y[4] == INFINITY);
  Series ramp;
  for (int i = 0; i < 101; ++i) ramp.y.push_back(i);
  CHECK(smoothed(ramp, 10).y[50] == Approx(50));
  CHECK(smoothed(ramp, 1).y == ramp.y);
  CHECK_THROWS_AS(smoothed(ramp, 0), ValueError);
}

TEST_CASE("pictures: half blocks, palette and shades") {
  const Picture picture{{0, 255, 100, 8}, 2, 2, "", Verdict::none};
  CHECK(draw_pictures({&picture, 1}, {.terminal = bright}) ==
        "\x1b[38;2;0;0;0;48;2;100;100;100m▀\x1b[38;2;255;255;255;48;2;8;8;8m▀\x1b[0m\n");
  CHECK(draw_pictures({&picture, 1}, {.terminal = {true, 80, true, Colors::palette}}) ==
        "\x1b[38;5;16;48;5;241m▀\x1b[38;5;231;48;5;232m▀\x1b[0m\n");
  const Picture shades{{0, 255, 128}, 3, 1, "", Verdict::none};
  CHECK(draw_pictures({&shades, 1}, {.terminal = plain}) == " @+\n");
}

TEST_CASE("pictures: side by side with captions, wrapped at the width, averaged down") {
  const Picture right{std::vector<uint8_t>(64, 255), 8, 8, "Coat", Verdict::right};
  const Picture wrong{std::vector<uint8_t>(96, 0), 8, 12, "Shirt\nis a Coat or so", Verdict::wrong};
  const std::vector<Picture> three = {right, wrong, right};
  const auto lines = split(draw_pictures(three, {.columns = 18, .terminal = plain}), '\n');
  REQUIRE(lines.size() == 6 + 2 + 1 + 4 + 1 + 1);
  CHECK(lines[0] == "@@@@@@@@          ");
  CHECK(lines[5] == "                  ");  // the lower picture has ended
  CHECK(lines[6] == "+ Coat    x Shirt ");
  CHECK(lines[7] == "          is a Co.");
  CHECK(lines[9] == "@@@@@@@@");
  CHECK(has(draw_pictures(three, {.terminal = bright}), "\x1b[32m✓ Coat\x1b[0m"));
  CHECK(has(draw_pictures(three, {.terminal = bright}), "\x1b[31m✗ Shirt\x1b[0m"));

  const Picture halves{{0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255}, 4, 4, "", Verdict::none};
  CHECK(draw_pictures({&halves, 1}, {.picture_columns = 2, .terminal = plain}) == " @\n");
  const Terminal single{false, 1, false, Colors::none};
  for (const auto& line : split(draw_pictures(three, {.terminal = single}), '\n')) CHECK(line.size() <= 1);
}

TEST_CASE("pictures: bad sizes") {
  for (const auto& [width, height] : std::vector<std::pair<int64_t, int64_t>>{
           {2, 3}, {0, 4}, {-2, -2}, {4, 0}, {int64_t{1} << 62, 4}, {3, 1}, {int64_t{1} << 32, int64_t{1} << 32}}) {
    const Picture picture{{1, 2, 3, 4}, width, height, "", Verdict::none};
    CHECK_THROWS_AS(draw_pictures({&picture, 1}), ShapeError);
  }
  CHECK(draw_pictures({}).empty());
  CHECK_THROWS_AS(draw_pictures({}, {.columns = -1}), ValueError);
  CHECK_THROWS_AS(draw_pictures({}, {.picture_columns = 0}), ValueError);
}

TEST_CASE("interrupt: the first signal sets the flag, handlers are restored") {
  struct sigaction before {
  }, after{};
  sigaction(SIGTERM, nullptr, &before);
  {
    const Interrupt guard;
    CHECK(!guard.interrupted());
    std::raise(SIGTERM);
    std::raise(SIGTERM);  // at once: the same one, as timeout(1) sends it
    CHECK(guard.interrupted());
    CHECK(guard.signal() == SIGTERM);
    const Interrupt inner;
    CHECK(inner.interrupted());
  }
  sigaction(SIGTERM, nullptr, &after);
  CHECK(before.sa_handler == after.sa_handler);
  const Interrupt fresh;
  CHECK(!fresh.interrupted());
}

TEST_CASE("interrupt: a signal that was ignored stays ignored") {
  std::signal(SIGUSR1, SIG_IGN);
  {
    const Interrupt guard;
    std::raise(SIGUSR1);
    CHECK(!guard.interrupted());
  }
  CHECK(std::signal(SIGUSR1, SIG_DFL) == SIG_IGN);
}

namespace {

constexpr int overslept = 99;

/// The exit code of a process that gets a second signal `pause` seconds after the first, 99 when it came too late for a
/// pause shorter than `limit`.
int code_after_two_signals(double pause, double limit) {
  const pid_t child = fork();
  if (child == 0) {
    const Interrupt guard;
    const auto start = std::chrono::steady_clock::now();
    std::raise(SIGTERM);
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
    if (std::chrono::steady_clock::now() - start > std::chrono::duration<double>(limit)) _exit(overslept);
    std::raise(SIGINT);
    _exit(guard.signal() == SIGTERM ? 0 : 1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  return WEXITSTATUS(status);
}

}  // namespace

TEST_CASE("interrupt: a second signal ends the process with 128 + signal, unless it comes within half a second") {
  CHECK(code_after_two_signals(0.6, 1e9) == 128 + SIGINT);
  int code = overslept;
  for (int attempt = 0; attempt < 20 && code == overslept; ++attempt) code = code_after_two_signals(0.3, 0.45);
  CHECK(code == 0);
}
