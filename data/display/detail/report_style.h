// The style sheet of the report, light and dark.
#pragma once

#include <string_view>

namespace gradus::detail {

inline constexpr std::string_view report_style = R"css(
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --ink: #191c22; --soft: #626b7a; --line: #e3e6eb; --grid: #e9ecf1; --shade: 37, 99, 214;
  --good: #0f7b53; --bad: #c8323a;
  --c0: #2563d6; --c1: #d9730d; --c2: #0f9169; --c3: #c2336b; --c4: #6d4cd4; --c5: #0b7f96;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111318; --card: #1a1d24; --ink: #e8eaf0; --soft: #969fb0; --line: #2b303a; --grid: #262a33; --shade: 96, 150, 255;
    --good: #45c796; --bad: #ff7b80;
    --c0: #6b9cff; --c1: #ffa94d; --c2: #4fd1a0; --c3: #ff7eb0; --c4: #b197fc; --c5: #4fc9de;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 56px; }
h1 { margin: 0; font-size: 28px; line-height: 1.25; letter-spacing: -0.02em; }
h2 { margin: 40px 0 14px; font-size: 13px; font-weight: 600; letter-spacing: 0.07em; text-transform: uppercase; color: var(--soft); }
.subtitle { margin: 6px 0 0; color: var(--soft); }
.card { margin: 0; padding: 18px 20px; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 14px; margin-top: 28px; }
.tiles b { display: block; font-size: 27px; line-height: 1.3; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.tiles span { font-size: 13px; color: var(--soft); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 14px; }
figcaption { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; margin-bottom: 8px; font-size: 13px; color: var(--soft); }
figcaption strong { margin-right: auto; font-size: 15px; color: var(--ink); }
figcaption i { display: inline-block; width: 14px; height: 3px; margin-right: 6px; border-radius: 2px; vertical-align: middle; background: currentColor; }
figcaption b { font-weight: 600; color: var(--ink); font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font-size: 11.5px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--grid); } .frame { stroke: var(--line); }
.y { text-anchor: end; } .x { text-anchor: middle; } .end { text-anchor: end; }
.curve { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.faint { stroke-width: 1; opacity: 0.28; }
.hit { fill: transparent; } .dot { fill: currentColor; stroke: var(--card); stroke-width: 2; opacity: 0; pointer-events: none; }
g:hover > .dot, .marked { opacity: 1; }
.s0 { color: var(--c0); } .s1 { color: var(--c1); } .s2 { color: var(--c2); } .s3 { color: var(--c3); } .s4 { color: var(--c4); } .s5 { color: var(--c5); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); gap: 14px; }
.pictures .card { padding: 10px 10px 9px; }
.pictures img { display: block; width: 100%; height: auto; border-radius: 6px; background: #000; image-rendering: pixelated; }
.pictures figcaption { display: block; margin: 8px 2px 0; font-size: 12.5px; line-height: 1.35; color: var(--ink); white-space: pre-line; overflow-wrap: anywhere; }
.right figcaption::before { content: "\2713  "; color: var(--good); font-weight: 700; }
.wrong figcaption::before { content: "\2717  "; color: var(--bad); font-weight: 700; }
.wrong { border-color: var(--bad); }
.classes { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 14px; align-items: start; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th { padding: 0 10px 8px; font-size: 12px; font-weight: 600; text-align: left; color: var(--soft); white-space: nowrap; }
td { padding: 7px 10px; border-top: 1px solid var(--line); overflow-wrap: break-word; }
th:first-child, td:first-child { padding-left: 0; }
.number { text-align: right; white-space: nowrap; }
.scores td:first-child { white-space: nowrap; }
.bar { width: 20%; min-width: 48px; }
.bar div { height: 7px; border-radius: 4px; background: var(--grid); }
.bar div div { background: var(--c0); }
.facts td:first-child { width: 34%; color: var(--soft); }
.facts tr:first-child td { border-top: 0; }
.matrix { table-layout: fixed; font-size: 12px; }
.matrix td { padding: 6px 1px; border: 1px solid var(--card); text-align: center; border-radius: 4px; }
.matrix th { padding: 3px 8px 3px 0; overflow: hidden; text-overflow: ellipsis; font-weight: 500; }
.matrix thead span { max-height: 110px; overflow: hidden; text-overflow: ellipsis; writing-mode: vertical-rl; transform: rotate(180deg); }
.matrix thead th { padding: 0 0 6px; text-align: center; vertical-align: bottom; }
.matrix thead .corner { width: 92px; text-align: left; font-size: 11px; }
.matrix .strong { color: #fff; }
footer { margin-top: 40px; font-size: 12.5px; color: var(--soft); }
@media print { body { background: none; } .card { break-inside: avoid; } }
)css";

}  // namespace gradus::detail
