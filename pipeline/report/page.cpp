#include "pipeline/report/page.hpp"

#include <fmt/format.h>

#include "base/fingerprint.hpp"
#include "base/text.hpp"

namespace pipeline {
namespace {

// Colours hold 4.5:1 on their grounds (WCAG 2.1 AA), both ways.
constexpr const char* kStyle = R"css(
:root{color-scheme:light dark;--ground:#f5f6f8;--sheet:#fff;--ink:#1c2330;--soft:#556071;--line:#dde1e8;--head:#eef1f5;
--accent:#1f5fbf;--ok:#17694a;--ok-bg:#e4f4ec;--warn:#7d4d00;--warn-bg:#fdf1d8;--bad:#a3242b;--bad-bg:#fce8e8;
--c-verified:#1d7a56;--c-bound:#7cc3a4;--c-gone:#7d8795;--c-excluded:#b9c0ca;--c-quarantined:#c8373f;--c-pending:#e09f1f}
@media(prefers-color-scheme:dark){:root{--ground:#12161d;--sheet:#1a2029;--ink:#e6eaf0;--soft:#a3aebd;--line:#303947;
--head:#232b37;--accent:#86b6f7;--ok:#7fdcb0;--ok-bg:#173328;--warn:#f3c877;--warn-bg:#3a2e14;--bad:#ff9c9c;--bad-bg:#42201f;
--c-verified:#35a277;--c-bound:#2a6450;--c-gone:#8a94a3;--c-excluded:#556071;--c-quarantined:#e5646a;--c-pending:#e0a63a}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",
"DejaVu Sans",sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:72rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.25rem}
h1{font-size:1.9rem;line-height:1.2;margin:.1rem 0 .2rem;letter-spacing:-.01em}
h2{font-size:1.3rem;margin:0 0 .75rem;letter-spacing:-.005em}
h3{font-size:1.02rem;margin:1.6rem 0 .5rem}
p{margin:.5rem 0}
.brand{font-weight:600;color:var(--accent);letter-spacing:.04em;font-size:.85rem;margin:0}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
section{background:var(--sheet);border:1px solid var(--line);border-radius:.75rem;padding:1.4rem 1.5rem;margin:1.25rem 0}
.verdict{display:flex;gap:1rem;align-items:flex-start;border-radius:.75rem;padding:1.1rem 1.3rem;margin:1.25rem 0;font-size:1.12rem;
line-height:1.45;border:1px solid currentColor}
.verdict svg{flex:none;width:2rem;height:2rem;margin-top:.05rem}
.verdict p{margin:0}.verdict span{color:var(--ink)}
.ok{color:var(--ok);background:var(--ok-bg)}.warn{color:var(--warn);background:var(--warn-bg)}.bad{color:var(--bad);background:var(--bad-bg)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.9rem;margin:1.25rem 0;padding:0}
.cards div{background:var(--sheet);border:1px solid var(--line);border-radius:.75rem;padding:.8rem 1rem}
.cards dt{color:var(--soft);font-size:.85rem}.cards dd{margin:0;font-size:1.5rem;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.25}
.cards dd small{display:block;font-size:.82rem;font-weight:400;color:var(--soft)}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;padding:0;margin:.75rem 0;font-size:.93rem}
a{color:var(--accent);text-underline-offset:.15em}
.scroll{overflow-x:auto;margin:.5rem 0 1rem}
.scroll:focus-visible,input:focus-visible,select:focus-visible,summary:focus-visible,a:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.2rem 0 .4rem}
th,td{text-align:left;vertical-align:top;padding:.34rem .6rem;border-bottom:1px solid var(--line)}
thead th{background:var(--head);font-weight:600;white-space:nowrap;overflow-wrap:normal}
tbody th{font-weight:500}
.n th:not(:first-child),.n td{text-align:right;white-space:nowrap}
.n td.t,.n th.t:not(:first-child){text-align:left;white-space:normal}
tfoot td,tfoot th{font-weight:650;border-bottom:0;border-top:2px solid var(--line)}
td b{color:var(--bad);font-weight:650}td i{color:var(--warn);font-style:normal;font-weight:650}
td .soft{font-size:.95em}
.z{color:var(--soft)}
.sw{display:inline-block;width:.8em;height:.8em;border-radius:.2em;margin-right:.55em;vertical-align:-.05em}
figure{margin:.25rem 0 1rem}svg.wide{display:block;width:100%;height:auto}
.books{max-width:34rem}
.chunk{content-visibility:auto}
.chunk table{table-layout:fixed;min-width:60rem}
.chunk th,.chunk td{padding-left:.4rem;padding-right:.4rem}.chunk thead th{font-size:.82rem}
.chunk .t,.chunk .n th.t:not(:first-child){padding-left:1.1rem}.chunk col.a{width:24%}.chunk col.s{width:19%}
.r th:first-child,.r th:nth-child(2){text-align:right;width:6.5rem}.r th:nth-child(3){width:45%}.e th:first-child{width:22%}
.filter{display:flex;flex-wrap:wrap;gap:.6rem 1rem;align-items:center;margin:.4rem 0 .8rem}
.filter[hidden]{display:none}.filter label{display:flex;gap:.5rem;align-items:center;max-width:100%;white-space:nowrap}
input,select{font:inherit;color:inherit;background:var(--sheet);border:1px solid var(--soft);border-radius:.45rem;padding:.4rem .65rem}
input{width:20rem;min-width:0}
code,.mono{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:.86em}
details{margin:.5rem 0}summary{cursor:pointer;padding:.25rem 0}
ul.lines{margin:.4rem 0;padding-left:1.2rem;font-size:.92rem}
dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem;margin:.5rem 0;font-size:.92rem}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0}
footer{padding-bottom:2.5rem;color:var(--soft);font-size:.88rem}
@media(max-width:40rem){main,header,footer{padding-left:.8rem;padding-right:.8rem}section{padding:1rem .9rem}h1{font-size:1.5rem}
dl.facts{grid-template-columns:1fr}dl.facts dd{margin-bottom:.4rem}.plot{min-width:36rem}.scroll table{min-width:48rem}
.books .scroll table{min-width:0}}
@page{size:A4;margin:14mm 12mm}
@media print{:root{color-scheme:light;--ground:#fff;--sheet:#fff;--ink:#000;--soft:#444;--line:#bbb;--head:#eee;--accent:#000;--ok:#0c5638;
--warn:#6b4200;--bad:#8c1a20;--ok-bg:#fff;--warn-bg:#fff;--bad-bg:#fff;--c-verified:#1d7a56;--c-bound:#7cc3a4;--c-gone:#7d8795;
--c-excluded:#b9c0ca;--c-quarantined:#c8373f;--c-pending:#e09f1f}
html{font-size:9.5pt}body{font-size:1rem}main,header,footer{max-width:none;padding:0}header{padding-top:0}section{border:0;padding:0;margin:1.2rem 0}
nav,.filter{display:none}.scroll{overflow:visible}.chunk{content-visibility:visible}.chunk table{min-width:0}.plot,.scroll table{min-width:0}
table{font-size:7.6pt}th,td{padding:.18rem .3rem}thead{display:table-header-group}tfoot{display:table-row-group}tr,figure,.verdict,.cards div{break-inside:avoid}
thead th{white-space:normal}.chunk thead th{font-size:6.6pt}h2,h3,caption,thead,summary{break-after:avoid}details::details-content{content-visibility:visible;block-size:auto}tbody tr:first-child{break-before:avoid}.n td,.n th{white-space:normal}
.cards{grid-template-columns:repeat(5,1fr);gap:.4rem}.cards dd{font-size:1.25rem}.cards div{padding:.4rem .5rem}
svg,.sw,.verdict,thead th{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
)css";

// Hides the rows of accounts that do not match; everything can be read without it.
constexpr const char* kScript = R"js(
(function(){
var box=document.getElementById('filter');if(!box)return;
var text=box.querySelector('input'),kind=box.querySelector('select'),said=box.querySelector('output'),waiting=false,chunks=null;
function load(){if(!chunks)chunks=[].map.call(document.querySelectorAll('.chunk'),function(c){
return{chunk:c,rows:[].map.call(c.querySelector('tbody').rows,function(r){
return{row:r,words:r.textContent.toLowerCase(),open:!r.querySelector('.k'),shown:true};})};});}
function apply(){waiting=false;load();var words=text.value.toLowerCase().trim(),open=kind.value==='open',n=0,all=0;
chunks.forEach(function(c){var show=c.rows.map(function(r){return(!open||r.open)&&r.words.indexOf(words)>=0;}),left=show.filter(Boolean).length;
n+=left;all+=show.length;c.chunk.hidden=left===0;if(left===0)return;
c.chunk.style.containIntrinsicSize='auto '+(left*2+4)+'rem';
c.rows.forEach(function(r,i){if(show[i]!==r.shown){r.row.hidden=!show[i];r.shown=show[i];}});});
said.textContent=n.toLocaleString('en')+' of '+all.toLocaleString('en')+' accounts';}
function soon(){if(!waiting){waiting=true;requestAnimationFrame(apply);}}
text.addEventListener('input',soon);kind.addEventListener('change',soon);box.hidden=false;setTimeout(load,300);
})();
)js";

}  // namespace

std::string page_begin(const std::string& title) {
  base::Sha256 sum;
  sum.add(kScript);
  const auto digest = sum.finish();
  const std::string script = base::base64_encode({reinterpret_cast<const char*>(digest.data()), digest.size()});
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "http-equiv=\"Content-Security-Policy\" "
      "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; form-action "
      "'none'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"robots\" "
      "content=\"noindex\">\n<title>{}</title>\n<style>{}</style>\n</head>\n<body>\n",
      script, base::html(title), kStyle);
}

std::string page_end() { return fmt::format("<script>{}</script>\n</body>\n</html>\n", kScript); }

}  // namespace pipeline
