"""How the HTML report looks."""

STYLE = """
:root{--ink:#1d2430;--soft:#5d6675;--line:#e2e6ec;--card:#fff;--page:#f4f6f9;
--blue:#2f6db5;--orange:#d9722e;--red:#c0392b;--redsoft:#fdecea;--green:#1f7a4d;
--greensoft:#e6f4ec;--amber:#8a5a00;--ambersoft:#fdf3dc}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1240px;margin:0 auto;padding:32px 24px 64px}
h1{font-size:26px;margin:0;overflow-wrap:anywhere}
h2{font-size:17px;margin:0 0 12px}
header p{margin:4px 0 20px;color:var(--soft);overflow-wrap:anywhere}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:20px 22px;margin-top:18px}
section p{margin:0 0 12px}
img{width:100%;height:auto;display:block}
.verdict{border-radius:10px;padding:12px 18px;margin-bottom:18px}
.verdict.good{background:var(--greensoft);color:var(--green)}
.verdict.bad{background:var(--redsoft);color:var(--red)}
.verdict.doubtful{background:var(--ambersoft);color:var(--amber)}
.verdict ul{margin:6px 0 0;padding-left:20px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:14px 16px;display:flex;flex-direction:column}
.tile b{font-size:24px;line-height:1.2;font-variant-numeric:tabular-nums}
.tile span{margin-top:2px}
.tile small{color:var(--soft);overflow-wrap:anywhere}
.tile.bad{border-color:var(--red)}
.tile.bad b{color:var(--red)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:600;font-size:13px;text-align:right;
border-bottom:1px solid var(--line);padding:4px 10px;white-space:nowrap}
td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);
white-space:nowrap}
th:first-child,td:first-child,.texts2 th:nth-child(2),.texts2 td:nth-child(2){
text-align:left}
td:first-child{white-space:normal;overflow-wrap:anywhere;min-width:240px}
td:first-child small{display:block;color:var(--soft);font-size:12px}
tr:last-child td{border-bottom:0}
tr.bad td{background:var(--redsoft)}
tr.grows td:first-child{box-shadow:inset 3px 0 var(--red)}
tr.grows td:first-child::after{content:"first grows here";color:var(--red);
font-size:12px;display:block}
.meter{display:inline-block;width:70px;height:7px;border-radius:4px;
background:var(--line);margin-right:8px;vertical-align:middle;overflow:hidden}
.meter i{display:block;height:100%;background:var(--blue)}
.bar{display:flex;height:22px;border-radius:6px;overflow:hidden;background:var(--line)}
.bar i{display:block;height:100%}
i.claimed{background:var(--blue)}
i.claimable{background:#9cc0e8}
i.int8{background:#b9c1cc}
i.float{background:var(--orange)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:6px 22px;padding:0;
margin:10px 0 0;color:var(--soft)}
.legend i{display:inline-block;width:11px;height:11px;border-radius:3px;
margin-right:7px}
dl{margin:0;display:grid;grid-template-columns:max-content 1fr;gap:6px 18px}
dt{font-weight:600}
dd{margin:0;color:var(--soft)}
@media print{body{background:#fff}section,.tile{break-inside:avoid}}
"""
