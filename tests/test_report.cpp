// What a run leaves behind: the run folder with its metrics.jsonl, and the HTML report.
#include <gradus/core/error.h>
#include <gradus/data/display/confusion.h>
#include <gradus/data/display/report.h>
#include <gradus/data/display/run_folder.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "catch.h"

using namespace gradus;
namespace fs = std::filesystem;

namespace {

/// A folder that is gone afterwards.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "gradus-report-XXXXXX").string();
    REQUIRE(mkdtemp(pattern.data()));
    path_ = pattern;
  }
  ~Scratch() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

int64_t count(const std::string& text, const std::string& part) {
  int64_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

std::string report_of(const Report& report) {
  const Scratch scratch;
  write_report(scratch / "report.html", report);
  CHECK(!fs::exists(scratch / "report.html.tmp"));
  return read_file(scratch / "report.html");
}

std::string decode_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes;
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(digits.find(c));
    held += 6;
    if (held >= 8) bytes += static_cast<char>(bits >> (held -= 8));
  }
  return bytes;
}

uint32_t big_endian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes.at(at + i));
  return value;
}

/// The pixels of a grey-scale PNG without filters, everything in it checked.
Picture decode_png(const std::string& file) {
  REQUIRE(file.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  Picture picture;
  std::string packed, order;
  for (size_t at = 8; at < file.size();) {
    const uint32_t size = big_endian(file, at);
    const std::string type = file.substr(at + 4, 4), data = file.substr(at + 8, size);
    REQUIRE(data.size() == size);
    const std::string body = type + data;
    REQUIRE(big_endian(file, at + 8 + size) ==
            crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size())));
    if (type == "IHDR") {
      picture.width = big_endian(data, 0);
      picture.height = big_endian(data, 4);
      REQUIRE(data.substr(8) == std::string("\x08\0\0\0\0", 5));
    }
    if (type == "IDAT") packed += data;
    order += type;
    at += 12 + size;
  }
  REQUIRE(order == "IHDRIDATIEND");
  std::string rows(static_cast<size_t>((picture.width + 1) * picture.height), '\0');
  uLongf size = rows.size();
  REQUIRE(uncompress(reinterpret_cast<Bytef*>(rows.data()), &size, reinterpret_cast<const Bytef*>(packed.data()),
                     packed.size()) == Z_OK);
  REQUIRE(size == rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool filter = i % static_cast<size_t>(picture.width + 1) == 0;
    if (filter) {
      REQUIRE(rows[i] == 0);
    } else {
      picture.pixels.push_back(static_cast<uint8_t>(rows[i]));
    }
  }
  return picture;
}

}  // namespace

TEST_CASE("run folder: named by the time, never shared") {
  const Scratch scratch;
  bool same_second = false;
  for (int i = 0; i < 5 && !same_second; ++i) {  // two folders may fall into two seconds, five pairs do not
    const RunFolder first({.root = scratch / "a/runs"}), second({.root = scratch / "a/runs"});
    std::string name = fs::path(first.path()).filename().string().substr(0, 19);
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; }, '0');
    CHECK(name == "0000-00-00_00-00-00");
    CHECK(fs::is_directory(first.path()));
    CHECK(first.path() != second.path());
    same_second = second.path() == first.path() + "-2";
  }
  CHECK(same_second);
}

TEST_CASE("run folder: names of files stay inside") {
  const Scratch scratch;
  const RunFolder run({.root = scratch / "runs"});
  CHECK(run.file("report.html") == run.path() + "/report.html");
  CHECK(run.file("a/../b.txt") == run.path() + "/b.txt");
  for (const char* name : {"", ".", "..", "../x", "a/../../x", "/etc/passwd"})
    CHECK_THROWS_AS(run.file(name), ValueError);
}

TEST_CASE("run folder: what was logged reads back") {
  const Scratch scratch;
  RunFolder run({.root = scratch / "runs"});
  const double third = 1.0 / 3;
  run.log({{"step", 1}, {"loss", third}, {"phase", "train \"a\"\n\xff"}, {"best", true}});
  run.log({{"step", size_t{2}}, {"loss", NAN}, {"seed", std::numeric_limits<uint64_t>::max()}});
  run.log({{"step", int64_t{3}}, {"loss", -INFINITY}, {"lr", 2e-3f}, {"name", std::string("x")}});
  run.log({});
  const std::string text = read_file(run.file("metrics.jsonl"));
  CHECK(text.rfind("{\"step\":1,\"loss\":0.3333333333333333,", 0) == 0);
  CHECK(has(text, "\"loss\":\"NaN\",\"seed\":18446744073709551615}\n{"));
  CHECK(has(text, "\"best\":true}\n"));
  CHECK(count(text, "\n") == 4);  // the newline in the text is escaped

  const MetricsLog log = run.metrics();
  REQUIRE(log.rows.size() == 4);
  CHECK(log.torn_lines == 0);
  CHECK(log.rows[0].number("loss") == third);
  CHECK(log.rows[0].number("best") == 1.0);
  CHECK(!log.rows[0].number("phase"));
  CHECK(log.rows[0].texts[0].second == "train \"a\"\n\xEF\xBF\xBD");
  CHECK(std::isnan(*log.rows[1].number("loss")));
  CHECK(log.rows[2].number("loss") == -INFINITY);
  CHECK(!log.rows[3].number("loss"));
}

TEST_CASE("run folder: lines of several threads do not mix") {
  const Scratch scratch;
  RunFolder run({.root = scratch / "runs"});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&run, t] {
      for (int i = 0; i < 250; ++i) run.log({{"thread", t}, {"i", i}, {"text", std::string(100, 'x')}});
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(run.metrics().rows.size() == 1000);
}

TEST_CASE("metrics: a torn last line is skipped and counted, damage before it is an error") {
  const Scratch scratch;
  const std::string path = scratch / "metrics.jsonl", good = "{\"step\":1,\"loss\":2}\n";
  const auto read = [&](const std::string& text) {
    write_file(path, text);
    return read_metrics(path);
  };
  CHECK(read("").rows.empty());
  CHECK(read(good).torn_lines == 0);
  for (const std::string& tail : {std::string("{\"step\":2,\"lo"), std::string("{"), std::string(100, '\0'),
                                  std::string("garbage\n"), std::string("\n")}) {
    const MetricsLog log = read(good + tail);
    CHECK(log.rows.size() == 1);
    CHECK(log.torn_lines == 1);
    CHECK_THROWS_WITH(read(good + tail + "\n" + good), Catch::Matchers::ContainsSubstring(path + ", line 2"));
  }
  CHECK(read(good + "{\"step\":2}").rows.size() == 2);  // only the newline is missing
  CHECK(read("{\"a\":null,\"b\":\"Infinity\"}\r\n").rows[0].numbers.size() == 2);
  CHECK_THROWS_AS(read(good + std::string(2 << 20, '[')), IoError);
  CHECK_THROWS_AS(read(std::string(1 << 19, '[') + "\n" + good), IoError);
  for (const char* line : {"[]", "1", "{\"a\":{}}", "{\"a\":[1]}", "{\"a\":1e999}", "{\"a\":1}{}", "{\"\xff\":1}"}) {
    CHECK_THROWS_AS(read(std::string(line) + "\n" + good), IoError);
  }
  CHECK_THROWS_AS(read_metrics(scratch / "absent"), IoError);
  CHECK_THROWS_AS(read_metrics(scratch / ""), IoError);  // a folder
}

TEST_CASE("run folder: resume goes on behind the last whole line") {
  const Scratch scratch;
  fs::create_directory(scratch / "run");
  const std::string metrics = scratch / "run/metrics.jsonl";
  for (const std::string& tail :
       {std::string(), std::string("{\"step\":3,\"lo"), std::string("{\"step\":3,\"loss\":5}")}) {
    write_file(metrics, "{\"step\":1,\"loss\":7}\n{\"step\":2,\"loss\":6}\n" + tail);
    {
      RunFolder run({.resume = scratch / "run"});
      CHECK(run.path() == scratch / "run");
      run.log({{"step", 2}, {"loss", 4}});
      run.log({{"step", 4}, {"loss", 3}});
    }
    const MetricsLog log = read_metrics(metrics);
    CHECK(log.torn_lines == 0);
    const Series curve = log.series("step", "loss");
    CHECK(curve.name == "loss");
    CHECK(curve.x == std::vector<double>{1, 2, 4});  // what was logged before the resume is replaced
    CHECK(curve.y == std::vector<double>{7, 4, 3});
    CHECK(log.series("step", "accuracy").y.empty());
  }
  write_file(metrics, "damaged\n{}\n");
  CHECK_THROWS_AS(RunFolder({.resume = scratch / "run"}), IoError);
  CHECK(read_file(metrics) == "damaged\n{}\n");
  CHECK_THROWS_AS(RunFolder({.resume = scratch / "absent"}), IoError);
  CHECK_THROWS_AS(RunFolder({.root = metrics}), IoError);
}

TEST_CASE("run folder: a full disk is an error and leaves whole lines") {
  const Scratch scratch;
  fs::create_directory(scratch / "run");
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    RunFolder run({.resume = scratch / "run"});
    const rlimit limit{50, 50};  // bytes a file: two lines and a half
    setrlimit(RLIMIT_FSIZE, &limit);
    int errors = 0;
    for (int i = 0; i < 5; ++i) {
      try {
        run.log({{"step", i}, {"loss", 0.25}});
      } catch (const IoError&) {
        ++errors;
      }
    }
    _exit(errors);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 3);
  const MetricsLog log = read_metrics(scratch / "run/metrics.jsonl");
  CHECK(log.rows.size() == 2);
  CHECK(log.torn_lines == 0);
}

TEST_CASE("confusion: scores and the table of the worst") {
  Confusion confusion({"cat", "dog", "cow"});
  CHECK(std::isnan(confusion.accuracy()));
  for (const auto& [truth, predicted] : std::vector<std::pair<int, int>>{{0, 0}, {0, 1}, {0, 1}, {0, 2}, {1, 1}})
    confusion.add(truth, predicted);
  CHECK(confusion.accuracy() == Approx(0.4));
  CHECK(confusion.examples() == 5);
  CHECK(confusion.count(0, 1) == 2);
  const auto scores = confusion.scores();
  CHECK(scores[0].examples == 4);
  CHECK(scores[0].recall == Approx(0.25));
  CHECK(scores[0].precision == Approx(1));
  CHECK(scores[0].mistaken_for == "dog");
  CHECK(scores[0].mistakes == 2);
  CHECK(scores[1].precision == Approx(1.0 / 3));
  CHECK(scores[1].mistaken_for.empty());
  CHECK(std::isnan(scores[2].recall));
  CHECK(draw_worst_classes(confusion, 3, {}) ==
        "class   recall  precision  most often taken for\n"
        "cat     25.0 %    100.0 %  dog (50.0 %)\n"
        "dog    100.0 %     33.3 %\n");
  CHECK_THROWS_AS(confusion.add(3, 0), IndexError);
  CHECK_THROWS_AS(confusion.add(0, -1), IndexError);
  CHECK_THROWS_AS(Confusion({}), ValueError);
}

TEST_CASE("report: all text is escaped, nothing comes from elsewhere") {
  const std::string evil = "<script>alert('x')</script>\"&\x01\xff";
  const std::string safe = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\uFFFD\uFFFD";
  Report report{.title = evil, .subtitle = evil, .highlights = {{evil, evil}}, .summary = {{evil, evil}}};
  report.figures = {{.title = evil, .x_label = evil, .y_label = evil, .series = {{evil, {}, {1, 2}}}}};
  report.pictures = {{{0}, 1, 1, evil, Verdict::wrong}};
  report.confusion = Confusion({evil, "b"});
  report.confusion->add(1, 0);
  const std::string page = report_of(report);
  CHECK(!has(page, "<script"));
  CHECK(!has(page, "alert('"));
  CHECK(count(page, safe) >= 15);
  for (const char* outside : {"http:", "https:", "src=\"/", "@import", "url("}) CHECK(!has(page, outside));
  for (const char* tag :
       {"div", "table", "figure", "figcaption", "svg", "g", "tr", "td", "th", "span", "main", "html"}) {
    const std::string name(tag);
    CHECK(count(page, "<" + name + ">") + count(page, "<" + name + " ") == count(page, "</" + name + ">"));
  }
}

TEST_CASE("report: pictures are PNG files of the same pixels") {
  Picture picture{{}, 33, 21, "Coat", Verdict::right};
  for (int i = 0; i < 33 * 21; ++i) picture.pixels.push_back(static_cast<uint8_t>(i * 37));
  const Picture dot{{200}, 1, 1, "", Verdict::none};
  const std::string page = report_of({.title = "pictures", .pictures = {picture, dot}});
  const std::string opening = "data:image/png;base64,";
  std::vector<Picture> found;
  for (size_t at = page.find(opening); at != std::string::npos; at = page.find(opening, at + 1)) {
    const size_t start = at + opening.size();
    const std::string text = page.substr(start, page.find('"', start) - start);
    CHECK(text.size() % 4 == 0);
    found.push_back(decode_png(decode_base64(text)));
  }
  REQUIRE(found.size() == 2);
  CHECK(found[0].width == 33);
  CHECK(found[0].height == 21);
  CHECK(found[0].pixels == picture.pixels);
  CHECK(found[1].pixels == dot.pixels);
}

TEST_CASE("report: empty, single and broken curves") {
  const auto figure = [](std::vector<double> y, int64_t smoothing = 1) {
    Report report;
    report.figures = {
        {.title = "loss", .x_label = "step", .series = {{"train", {}, std::move(y)}}, .smoothing = smoothing}};
    return report_of(report);
  };
  CHECK(has(report_of({}), "</html>"));
  CHECK(!has(report_of({}), "<h2>"));
  CHECK(has(figure({}), "no data"));
  CHECK(has(figure({NAN, INFINITY}), "no data"));
  CHECK(count(figure({1}), "<circle") == 2);
  CHECK(has(figure({1}), "<title>step 0: train 1.000</title>"));
  CHECK(count(figure({1, NAN, 3, 4}), "h0") == 2);  // the pen goes down twice
  for (const std::string& page :
       {figure({1, NAN, 3}), figure({1e308, -1e308}), figure({5e-324, 0}), figure({7, 7, 7})}) {
    const std::string svg = page.substr(page.find("<svg"), page.find("</svg>") - page.find("<svg"));
    CHECK(!has(svg, "nan"));
    CHECK(!has(svg, "inf"));
  }
  CHECK(count(figure({1, 2, 3, 4, 5}, 3), "<path class=\"curve") == 2);  // the faint curve and its mean
  std::vector<double> ramp(1'000'000);
  for (size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<double>(i % 1000);
  CHECK(figure(ramp, 100).size() < 200'000);
}

TEST_CASE("report: what cannot be shown or written is a typed error") {
  const Scratch scratch;
  CHECK_THROWS_AS(write_report(scratch / "absent/report.html", {}), IoError);
  fs::create_directory(scratch / "folder");
  CHECK_THROWS_AS(write_report(scratch / "folder", {}), IoError);
  CHECK(!fs::exists(scratch / "folder.tmp"));
  Report report;
  report.pictures = {{{1, 2, 3}, 2, 2, "", Verdict::none}};
  CHECK_THROWS_AS(write_report(scratch / "r.html", report), ShapeError);
  report.pictures.clear();
  report.figures = {{.series = {{"a", {1}, {1, 2}}}}};
  CHECK_THROWS_AS(write_report(scratch / "r.html", report), ShapeError);
  report.figures = {{.smoothing = 0}};
  CHECK_THROWS_AS(write_report(scratch / "r.html", report), ValueError);
  CHECK(!fs::exists(scratch / "r.html"));
}
