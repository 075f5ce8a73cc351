// The sections of the report page, and the file.
#include <gradus/data/display/report.h>

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>

#include <gradus/core/error.h>
#include <gradus/data/display/detail/grey.h>
#include <gradus/data/display/detail/html.h>
#include <gradus/data/display/detail/png.h>
#include <gradus/data/display/detail/report_style.h>
#include <gradus/data/display/detail/text.h>

namespace gradus {
namespace detail {

std::string escape_html(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    const Character c = decode_utf8(text);
    const bool space = c.code == '\t' || c.code == '\n';
    if (!c.valid || (c.code < 0x20 && !space) || (c.code >= 0x7F && c.code < 0xA0)) {
      safe += "\uFFFD";
    } else {
      switch (c.code) {
        case '&': safe += "&amp;"; break;
        case '<': safe += "&lt;"; break;
        case '>': safe += "&gt;"; break;
        case '"': safe += "&quot;"; break;
        case '\'': safe += "&#39;"; break;
        default: safe += text.substr(0, c.bytes);
      }
    }
    text.remove_prefix(c.bytes);
  }
  return safe;
}

}  // namespace detail

namespace {

using detail::escape_html;
constexpr size_t widest_matrix = 50;  // classes

std::string percent(double share) { return std::isnan(share) ? "–" : fmt::format("{:.1f} %", 100 * share); }

std::string draw_tiles(const std::vector<Fact>& facts) {
  if (facts.empty()) return {};
  std::string text = "<div class=\"tiles\">\n";
  for (const Fact& fact : facts) {
    text += fmt::format("<div class=\"card\"><b>{}</b><span>{}</span></div>\n", escape_html(fact.value),
                        escape_html(fact.name));
  }
  return text + "</div>\n";
}

std::string draw_figures(const std::vector<Figure>& figures) {
  if (figures.empty()) return {};
  std::string text = "<h2>Curves</h2>\n<div class=\"figures\">\n";
  for (const Figure& figure : figures) text += detail::draw_figure(figure);
  return text + "</div>\n";
}

std::string draw_pictures_section(const std::vector<Picture>& pictures) {
  if (pictures.empty()) return {};
  std::string text = "<h2>Pictures</h2>\n<div class=\"pictures\">\n";
  for (const Picture& picture : pictures) {
    detail::check_picture(picture, "write_report");
    const std::string_view verdict = picture.verdict == Verdict::right   ? " right"
                                     : picture.verdict == Verdict::wrong ? " wrong"
                                                                         : "";
    const std::string caption = escape_html(picture.caption);
    text += fmt::format(
        "<figure class=\"card{}\"><img alt=\"{}\" width=\"{}\" height=\"{}\" "
        "src=\"data:image/png;base64,{}\"><figcaption>{}</figcaption></figure>\n",
        verdict, caption, picture.width, picture.height, detail::base64(detail::encode_png(picture)), caption);
  }
  return text + "</div>\n";
}

std::string draw_class_table(const Confusion& confusion) {
  std::string text =
      "<div class=\"card scroll\"><table class=\"scores\">\n<thead><tr><th>Class</th><th "
      "class=\"number\">Recall</th><th></th>"
      "<th class=\"number\">Precision</th><th>Taken for</th></tr></thead>\n<tbody>\n";
  for (const ClassScore& score : confusion.scores()) {
    const double share = std::isnan(score.recall) ? 0 : score.recall;
    const std::string mistake =
        score.mistakes == 0 ? "" : fmt::format("{} ({})", escape_html(score.mistaken_for), score.mistakes);
    text += fmt::format(
        "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"bar\"><div><div "
        "style=\"width:{:.1f}%\"></div></div></td>"
        "<td class=\"number\">{}</td><td>{}</td></tr>\n",
        escape_html(score.name), percent(score.recall), 100 * share, percent(score.precision), mistake);
  }
  return text + "</tbody></table></div>\n";
}

/// Rows are truths, columns predictions; the shade of a cell is its share of the row.
std::string draw_matrix(const Confusion& confusion) {
  const auto& classes = confusion.classes();
  const auto size = static_cast<int64_t>(classes.size());
  if (classes.size() > widest_matrix) return {};
  std::string text =
      "<div class=\"card scroll\"><table class=\"matrix\">\n<thead><tr><th class=\"corner\">is \\ taken for</th>";
  for (const auto& name : classes) text += fmt::format("<th title=\"{0}\"><span>{0}</span></th>", escape_html(name));
  text += "</tr></thead>\n<tbody>\n";
  const std::vector<ClassScore> scores = confusion.scores();
  for (int64_t truth = 0; truth < size; ++truth) {
    const std::string name = escape_html(classes[static_cast<size_t>(truth)]);
    text += fmt::format("<tr><th title=\"{0}\">{0}</th>", name);
    for (int64_t predicted = 0; predicted < size; ++predicted) {
      const int64_t count = confusion.count(truth, predicted);
      const double share = static_cast<double>(count) /
                           static_cast<double>(std::max<int64_t>(1, scores[static_cast<size_t>(truth)].examples));
      // The square root shows rare mistakes.
      text += fmt::format("<td{} style=\"background:rgba(var(--shade),{:.2f})\" title=\"{} taken for {}: {}\">{}</td>",
                          share > 0.35 ? " class=\"strong\"" : "", std::sqrt(share), name,
                          escape_html(classes[static_cast<size_t>(predicted)]), count,
                          count == 0 ? "" : std::to_string(count));
    }
    text += "</tr>\n";
  }
  return text + "</tbody></table></div>\n";
}

std::string draw_classes(const std::optional<Confusion>& confusion) {
  if (!confusion) return {};
  return "<h2>Classes</h2>\n<div class=\"classes\">\n" + draw_class_table(*confusion) + draw_matrix(*confusion) +
         "</div>\n";
}

std::string draw_summary(const std::vector<Fact>& facts) {
  if (facts.empty()) return {};
  std::string text = "<h2>Summary</h2>\n<div class=\"card scroll\"><table class=\"facts\"><tbody>\n";
  for (const Fact& fact : facts)
    text += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escape_html(fact.name), escape_html(fact.value));
  return text + "</tbody></table></div>\n";
}

std::string draw_page(const Report& report) {
  const std::string title = escape_html(report.title);
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
      title, detail::report_style);
  if (!report.subtitle.empty()) page += fmt::format("<p class=\"subtitle\">{}</p>\n", escape_html(report.subtitle));
  page += draw_tiles(report.highlights) + draw_figures(report.figures) + draw_pictures_section(report.pictures);
  page += draw_classes(report.confusion) + draw_summary(report.summary);
  return page + "<footer>Written by Gradus</footer>\n</main>\n</body>\n</html>\n";
}

}  // namespace

void write_report(const std::string& path, const Report& report) {
  const std::string page = draw_page(report);
  const std::string draft = path + ".tmp";
  std::ofstream out(draft, std::ios::binary | std::ios::trunc);
  out << page;
  out.close();
  if (!out || std::rename(draft.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(draft.c_str());
    throw IoError(fmt::format("write_report: cannot write {}: {}", path, std::strerror(error)));
  }
}

}  // namespace gradus
