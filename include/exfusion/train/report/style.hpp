#pragma once

#include <string_view>

namespace exfusion::train::report {

/// The style sheet of every page. The curves' colours are Okabe and Ito's for the colour-blind, darkened or
/// lightened until they stand out from the background.
inline constexpr std::string_view style = R"(
:root {
  color-scheme: light dark;
  --back: #f6f7f9; --card: #fff; --ink: #1b1f24; --soft: #5b6470; --rule: #d9dde3; --grid: #e6e9ee;
  --c0: #0072b2; --c1: #d55e00; --c2: #00855f; --c3: #b0508a; --c4: #b07a00; --c5: #2f8fd0; --c6: #6b4fc9;
  --c7: #6b6b6b; --good: #00734f; --bad: #b34700; --heat: 0 114 178;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171b; --card: #1d2126; --ink: #e6e9ed; --soft: #9aa4b0; --rule: #363c44; --grid: #2b3037;
    --c0: #4fa8e0; --c1: #ff8a3d; --c2: #2fc79b; --c3: #e08cc0; --c4: #e6b422; --c5: #8fcdf5; --c6: #a893f0;
    --c7: #a8a8a8; --good: #3ecf9f; --bad: #ff9a57; --heat: 28 104 160;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 32px 0 10px; }
h3 { font-size: .95rem; margin: 18px 0 8px; }
h3 + .soft { margin-bottom: 8px; }
p { margin: 0 0 4px; }
small, .soft { color: var(--soft); font-size: .85rem; font-weight: 400; }
.state { display: inline-block; padding: 1px 10px; border: 1px solid; border-radius: 99px; font-size: .85rem;
  font-weight: 600; vertical-align: middle; white-space: nowrap; }
.finished { color: var(--good); } .running { color: var(--c0); } .interrupted { color: var(--bad); }
progress { width: 100%; height: 10px; margin: 10px 0 4px; accent-color: var(--c0); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(168px, 1fr)); gap: 10px; margin: 14px 0 0;
  padding: 0; }
.tiles div, figure, pre, .scroll { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.tiles div { padding: 8px 12px; display: flex; flex-direction: column; justify-content: space-between; }
.tiles dt { color: var(--soft); font-size: .8rem; }
.tiles dd { margin: 0; font-size: 1.1rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); gap: 12px; }
.plots.large { grid-template-columns: repeat(auto-fit, minmax(min(100%, 480px), 1fr)); }
figure { margin: 0; padding: 12px 14px 8px; min-width: 0; display: flex; flex-direction: column; }
figcaption { font-weight: 600; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 0 16px; margin: 2px 0 14px; padding: 0;
  font-size: .85rem; }
.legend b { font-weight: 400; color: var(--soft); font-variant-numeric: tabular-nums; }
.key { display: inline-block; width: 20px; margin-right: 6px; border-top: 3px solid; vertical-align: middle; }
.key.dashed { border-top-style: dashed; }
.frame { position: relative; height: 200px; margin: auto 14px 22px 46px; }
.large .frame { height: 300px; }
.frame svg { display: block; width: 100%; height: 100%; overflow: visible; }
.grid { stroke: var(--grid); stroke-width: 1; vector-effect: non-scaling-stroke; }
.line { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round;
  vector-effect: non-scaling-stroke; }
.faint { stroke-width: 1; opacity: .4; }
.dashed { stroke-dasharray: 6 4; stroke-linecap: butt; }
.dots { fill: none; stroke-width: 6; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.stripe { fill: transparent; } .stripe:hover { fill: var(--soft); fill-opacity: .15; }
.y span, .x span { position: absolute; font-size: 12px; line-height: 1; color: var(--soft); white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.y span { right: 100%; margin-right: 7px; transform: translateY(50%); }
.x span { top: 100%; margin-top: 7px; transform: translateX(-50%); }
.x-name { margin: 0; text-align: right; font-size: 12px; line-height: 1.2; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; border-top: 1px solid var(--rule); }
thead th { border-top: 0; color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom; }
th:first-child { text-align: left; } tbody th { font-weight: 500; white-space: normal; min-width: 6em; }
.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; min-width: 7em; }
.text thead th { text-align: left; }
.heat { width: fit-content; max-width: 100%; }
.heat table { width: auto; font-size: .8rem; }
.heat td, .heat th { padding: 4px 6px; border: 1px solid var(--rule); text-align: center; white-space: nowrap; }
.heat td { min-width: 34px; text-align: center; }
.heat thead th { vertical-align: bottom; color: var(--ink); font-weight: 500; }
.heat thead th span { writing-mode: vertical-rl; transform: rotate(180deg); }
.heat tbody th { position: sticky; left: 0; background: var(--card); text-align: left; min-width: 0; }
.heat .strong { color: #fff; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(164px, 1fr)); gap: 10px; }
.gallery figure { padding: 8px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; }
.pair div { position: relative; }
.pair img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: 3px; }
.pair svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.gallery p { margin: 6px 0 0; font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
.right { color: var(--good); font-weight: 600; } .wrong { color: var(--bad); font-weight: 600; }
pre { margin: 0 0 12px; padding: 10px 12px; font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 420px; overflow-y: auto; }
footer { margin-top: 32px; }
@media (max-width: 520px) {
  main { padding: 14px 10px 32px; }
  h1 { font-size: 1.25rem; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; }
  .large .frame { height: 240px; }
  figure { padding: 10px 10px 6px; }
  th, td { padding: 5px 9px; }
}
)";

}  // namespace exfusion::train::report
