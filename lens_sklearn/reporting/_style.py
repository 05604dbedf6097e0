"""What the page looks like: light and dark, narrow and wide, on paper."""

STYLE = """
:root{color-scheme:light dark;--ground:#fff;--raised:#f5f7f9;--text:#1c2127;--muted:#59636e;
--line:#d5dbe1;--accent:#0b629b}
@media (prefers-color-scheme:dark){:root{--ground:#14171b;--raised:#1c2127;--text:#e4e8ec;
--muted:#a2acb7;--line:#353d46;--accent:#74bcee}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:68rem;background:var(--ground);
color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
header p{margin:0;color:var(--muted)}
h1{margin:0 0 1rem;font-size:1.75rem;line-height:1.25;overflow-wrap:anywhere}
h2{margin:0 0 .75rem;font-size:1.25rem}
section{padding:1.25rem 0 .5rem;border-top:1px solid var(--line)}
p,li,figcaption{max-width:44rem;overflow-wrap:anywhere}
p{margin:.5rem 0 .9rem}
a{color:var(--accent)}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;margin:0 0 1.25rem;padding:0;list-style:none}
section ul{margin:.25rem 0 1rem;padding-left:1.25rem}
.muted,figcaption,caption{color:var(--muted)}
.small,figcaption{font-size:.875rem}
.absent{padding:.6rem .9rem;border-left:3px solid var(--line);color:var(--muted);
background:var(--raised)}
.scroll{overflow-x:auto;margin:.5rem 0 1rem}
table{border-collapse:collapse;font-size:.9375rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.25rem 0;font-size:.875rem}
th,td{padding:.35rem .8rem .35rem 0;text-align:right;vertical-align:top;white-space:nowrap;
border-bottom:1px solid var(--line)}
th:first-child{text-align:left;font-weight:400;white-space:normal;min-width:9rem}
thead th,thead th:first-child{font-weight:600;vertical-align:bottom}
thead th{white-space:normal;min-width:5rem}
figure{margin:.75rem 0 1rem;max-width:38rem}
figure svg{display:block;width:100%;height:auto;fill:var(--text)}
figure svg *{stroke-linejoin:round;stroke-linecap:butt}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));
gap:0 2rem;align-items:start}
.figures>*{min-width:0}
summary{cursor:pointer;color:var(--accent)}
details{margin:.25rem 0 1rem}
code{font-size:.8125rem;overflow-wrap:anywhere}
.about td{text-align:left;white-space:normal}
.about th:first-child{min-width:7rem}
.picks table{table-layout:fixed;width:100%;min-width:18rem}
.picks th,.picks td{text-align:left;white-space:normal}
.text{white-space:pre-wrap;overflow-wrap:anywhere;overflow:hidden;text-align:start}
.gold{font-weight:600}
@media (max-width:40rem){
.picks table,.picks tbody,.picks tr,.picks th,.picks td{display:block;width:100%;min-width:0}
.picks thead{display:none}
.picks tbody th,.picks tbody td{padding-right:0}
.picks tbody td{padding-left:.75rem}
.picks tbody th{padding-top:1rem;border-bottom:0}
.picks td::before{content:attr(data-name);display:block;color:var(--muted);font-size:.875rem}
}
@media print{nav{display:none}section{break-inside:avoid}}
"""
