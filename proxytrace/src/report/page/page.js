'use strict';
(() => {
  // Everything below is text: nothing of the trace ever becomes markup, a link or a style.
  const trace = JSON.parse(document.getElementById('trace').textContent);
  const at = (id) => document.getElementById(id);
  const SVG = 'http://www.w3.org/2000/svg';
  const LONG = 2000;

  // What reorders, hides or breaks text is spelled out; of a long text the middle is left out.
  const DECEPTIVE = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff]|[\u{e0000}-\u{e0fff}]/gu;
  function show(text, room = LONG) {
    let shown = String(text ?? '');
    if (shown.length > room) shown = shown.slice(0, room / 2) + '…' + shown.slice(-room / 2);
    return shown.replace(DECEPTIVE, (c) => '\\u{' + c.codePointAt(0).toString(16) + '}');
  }
  // A text of several lines, each an element.
  function lines(text) {
    const all = String(text).split(/\r?\n/).filter((line) => line.trim());
    if (all.length < 2) return [show(text)];
    const shown = all.slice(0, 40).map((line) => show(line.trim()));
    return [...shown, ...(all.length > shown.length ? ['…'] : [])].map((line) => make('div', {}, line));
  }
  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === false || value == null) continue;
      if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? '' : value);
    }
    element.append(...children.filter((child) => child != null).map((child) => child instanceof Node ? child : String(child)));
    return element;
  }
  // A log, and what preflight asks, have none.
  const pid = (process) => (process.pid ? ` pid ${process.pid}` : '');
  const count = (number, noun) => `${number.toLocaleString('en')} ${noun}${number === 1 ? '' : 's'}`;
  function time(ns) {
    if (ns == null) return '';
    if (ns < 1e7) return `${(ns / 1e6).toFixed(1)} ms`;
    return ns < 1e9 ? `${Math.floor(ns / 1e6)} ms` : `${(ns / 1e9).toFixed(ns < 1e11 ? 2 : 0)} s`;
  }

  // 300 and 304 are answers like others to go.
  const isRedirected = ({ status, after_redirect: after }) => after != null && [301, 302, 303, 307, 308].includes(status);

  // Queries for the prefixes of a path that found nothing, where another did or might have; and those of which `direct` may have nothing.
  const prefixes = (path) => [...path.matchAll(/\//g)].map(({ index }) => path.slice(0, index));
  const isQuery = ({ artifact, module }) => module != null && ['info', 'list', 'latest'].includes(artifact);
  const query = ({ process, version }, module) => JSON.stringify([process, version, module]);
  const shorter = new Set(), found = new Set();
  for (const chain of trace.chains.filter(isQuery)) {
    for (const path of prefixes(chain.module)) shorter.add(query(chain, path));
    if (chain.outcome === 'ok') found.add(query(chain, chain.module));
  }
  function isProbe(chain) {
    const last = chain.attempts.at(-1);
    const untold = last != null && last.outcome === 'unknown' && last.next == null && !last.requests.length;
    const absent = isQuery(chain) && chain.outcome === 'not-found'
      && (shorter.has(query(chain, chain.module)) || prefixes(chain.module).some((path) => found.has(query(chain, path))));
    return isQuery(chain) && (absent || untold);
  }

  // ---- what there is -------------------------------------------------------------------------
  const by = (items) => new Map(items.map((item) => [item.id, item]));
  const connections = by(trace.connections), processes = by(trace.processes), chains = by(trace.chains);
  const rows = [];
  for (const chain of trace.chains) for (const attempt of chain.attempts) for (const request of attempt.requests) {
    rows.push({ request, attempt, chain });
  }
  rows.sort((a, b) => a.request.started_ns - b.request.started_ns || a.request.id - b.request.id);
  const rowOf = new Map(rows.map((row) => [row.request.id, row]));
  const opened = new Set();
  for (const row of rows) {
    const { request, chain } = row;
    // What a connection cost belongs to the first request that it carried.
    const first = request.connection != null && !opened.has(request.connection);
    if (first) opened.add(request.connection);
    Object.assign(row, parts(request, first ? connections.get(request.connection) : null));
    row.subject = chain.module == null ? 'checksum database' : chain.module + (chain.version == null ? '' : '@' + chain.version);
    // That somebody does not have a module is an answer like another, and what go made good by asking again did not fail.
    const bad = !['ok', 'cached', 'not-found', 'unfinished'].includes(request.outcome) && !isRedirected(request);
    row.healed = bad && row.attempt.outcome === 'ok';
    row.failed = bad && !row.healed;
    if (row.healed) for (const segment of row.segments) if (segment[0] === 'lost') segment[0] = 'blocked';
    row.text = null;
  }
  function parts(request, made) {
    const start = request.started_ns, head = request.duration_ns ?? 0;
    const wait = Math.min(request.ttfb_ns ?? head, head), before = head - wait;
    let costs = made ? [['dns', made.dns_ns], ['connect', made.connect_ns], ['tls', made.tls_ns]] : [];
    costs = costs.filter(([, ns]) => ns > 0);
    const sum = costs.reduce((all, [, ns]) => all + ns, 0);
    if (sum > before) costs = [];
    const blocked = before - costs.reduce((all, [, ns]) => all + ns, 0);
    const bad = request.status == null && !['ok', 'cached', 'unfinished', 'unknown'].includes(request.outcome);
    const segments = [['blocked', blocked], ...costs, [bad ? 'lost' : 'wait', wait], ['body', request.body_ns ?? 0]].filter(([, ns]) => ns > 0);
    return { start, end: start + head + (request.body_ns ?? 0), segments };
  }
  // What can be searched is put together when somebody searches.
  function searched(row) {
    const { request, attempt, chain } = row;
    row.text ??= [row.subject, chain.artifact, request.method, request.url.slice(0, 4096), request.host, request.status, request.outcome,
      request.cause, request.location?.slice(0, 4096), attempt.proxy, request.remote_addr, request.error?.detail?.slice(0, 4096)].join(' ').toLowerCase();
    return row.text;
  }

  // ---- the head ------------------------------------------------------------------------------
  const argv = show(trace.command.argv.join(' '), 300);
  at('command').textContent = argv;
  document.title = `${argv.slice(0, 60)} · proxytrace`;
  const of = (severity) => trace.findings.filter((finding) => finding.severity === severity).length;
  // An error that follows from others, and from nothing else, is told with the first of them, and is no second one.
  const told = new Map();
  const roots = new Map();
  for (const finding of trace.findings) {
    if (finding.role === 'root' && finding.severity === 'error') for (const id of finding.chains) if (!roots.has(id)) roots.set(id, finding);
  }
  const related = (finding) => finding.role !== 'root' && finding.severity === 'error' && finding.chain != null && finding.chains.every((id) => roots.has(id));
  for (const finding of trace.findings) {
    if (!related(finding)) continue;
    const root = roots.get(finding.chain);
    told.set(root, [...(told.get(root) ?? []), finding]);
  }
  const errors = of('error') - trace.findings.filter(related).length, warnings = of('warning');
  {
    const said = [];
    if (errors) said.push(count(errors, 'error'));
    if (warnings) said.push(count(warnings, 'warning'));
    const { exit_code: code, signal } = trace.command;
    const ended = signal != null ? `the command was ended by signal ${signal}`
      : code == null ? 'how the command ended is not known' : code ? `the command exited with ${code}` : null;
    if (ended) said.push(said.length ? ended : `Nothing wrong seen, but ${ended}`);
    const verdict = at('verdict');
    verdict.textContent = said.length ? said.join('; ') : trace.capture.complete ? 'Nothing wrong.' : 'Nothing wrong in what was seen.';
    verdict.classList.add(errors || code ? 'bad' : warnings || code == null ? 'warn' : 'good');
    const modules = new Set(trace.chains.filter((chain) => chain.module != null && (chain.version != null || chain.outcome === 'ok') && !isProbe(chain)).map((chain) => chain.module));
    const attempts = trace.chains.flatMap((chain) => chain.attempts);
    const numbers = [
      [modules.size, 'modules'], [rows.length, 'requests'],
      [rows.filter(({ request }) => isRedirected(request)).length, 'redirects'],
      [attempts.filter((attempt) => ['next-entry', 'direct'].includes(attempt.next)).length, 'fallbacks'],
      [trace.connections.length, 'connections'],
    ];
    for (const [number, noun] of numbers) {
      at('numbers').append(make('div', {}, make('dt', {}, number === 1 ? noun.slice(0, -1) : noun), make('dd', {}, number.toLocaleString('en'))));
    }
    if (trace.command.duration_ns != null) at('numbers').append(make('div', {}, make('dt', {}, 'in all'), make('dd', {}, time(trace.command.duration_ns))));
  }

  // ---- findings ------------------------------------------------------------------------------
  {
    const rank = { error: 0, warning: 1, note: 2 };
    const found = trace.findings.filter((finding) => !related(finding)).sort((a, b) => rank[a.severity] - rank[b.severity] || (a.role === 'root' ? 0 : 1) - (b.role === 'root' ? 0 : 1));
    if (!found.length) at('findings').append(make('p', {}, 'None.'));
    for (const finding of found) at('findings').append(card(finding));
    function card(finding, also = false) {
      const severity = ['error', 'warning', 'note'].includes(finding.severity) ? finding.severity : 'note';
      const box = make('article', { class: `finding ${severity}` },
        make('h3', {}, make('b', {}, `${also ? 'also' : severity} ${show(finding.code, 40)}${finding.confidence === 'possible' ? ' (possible)' : ''}`), show(finding.message)));
      const modules = also ? [] : finding.modules;
      if (modules.length) {
        const names = (list) => make('code', {}, show(list.join(', '), 20000));
        box.append(modules.length < 4 ? make('p', {}, names(modules))
          : make('details', {}, make('summary', {}, count(modules.length, 'module')), names(modules)));
      }
      const [source, ...others] = also ? [] : finding.sources;
      if (source) {
        box.append(make('p', { class: 'faint' }, make('code', {}, show(`${source.module}@${source.version}`, 300)), ' is asked for at ',
          make('code', {}, show(`${source.file}:${source.line}`, 300)), others.length ? `, and ${count(others.length, 'more line')}` : ''));
      }
      const ids = new Set(finding.requests);
      for (const row of finding.severity === 'note' ? [] : rows) if (row.chain.id === finding.chain) ids.add(row.request.id);
      if (ids.size && !also) box.append(make('p', {}, make('button', { type: 'button', onclick: () => only(ids, `${show(finding.code, 40)} alone`) }, `show ${count(ids.size, 'request')}`)));
      if (finding.advice) box.append(make('p', { class: 'advice' }, show(finding.advice)));
      box.append(...(told.get(finding) ?? []).map((one) => card(one, true)));
      return box;
    }
  }

  // ---- the walk ------------------------------------------------------------------------------
  {
    const walks = new Map();
    for (const chain of trace.chains) {
      const list = processes.get(chain.process)?.config.GOPROXY?.value ?? '';
      if (!walks.has(list)) walks.set(list, new Map());
      const entries = walks.get(list);
      for (const attempt of chain.attempts) {
        if (!entries.has(attempt.proxy)) entries.set(attempt.proxy, { proxy: attempt.proxy, index: attempt.index, separator: attempt.separator, outcomes: new Map(), onward: 0, targets: new Map() });
        const entry = entries.get(attempt.proxy);
        entry.index ??= attempt.index; entry.separator ??= attempt.separator;
        entry.outcomes.set(attempt.outcome, (entry.outcomes.get(attempt.outcome) ?? 0) + 1);
        if (attempt.next === 'next-entry' || attempt.next === 'direct') entry.onward += 1;
        for (const request of attempt.requests) {
          if (request.cause !== 'redirect') continue;
          const target = entry.targets.get(request.host) ?? entry.targets.set(request.host, new Map()).get(request.host);
          const answer = request.status ?? request.outcome;
          target.set(answer, (target.get(answer) ?? 0) + 1);
        }
      }
    }
    for (const [list, entries] of walks) {
      const asked = [...entries.values()].sort((a, b) => (a.index ?? 1e9) - (b.index ?? 1e9));
      const tokens = list.match(/[^,|]+[,|]?/g) ?? [];
      for (const token of tokens.slice(0, 50)) {
        const name = token.replace(/[,|]$/, '').trim();
        const used = /^(direct|off|noproxy)$/.test(name) || name.includes('://') ? name : `https://${name}`;
        if (name && !entries.has(used)) asked.push({ proxy: used, separator: token.slice(-1), outcomes: null, onward: 0, targets: new Map() });
      }
      const picture = make('ol', { class: 'walk' });
      asked.slice(0, 50).forEach((entry, place) => {
        const box = make('div', { class: `entry ${entry.outcomes ? '' : 'unasked'}` }, make('strong', {}, show(entry.proxy, 200)));
        if (!entry.outcomes) box.append(make('ul', {}, make('li', {}, 'not asked')));
        else box.append(make('ul', {}, ...[...entry.outcomes].map(([outcome, number]) => make('li', { class: kind(outcome) }, `${number.toLocaleString('en')} × ${show(outcome, 40)}`))));
        for (const [host, answers] of [...entry.targets].slice(0, 20)) {
          const said = [...answers].map(([answer, number]) => `${number.toLocaleString('en')} × ${show(answer, 40)}`).join(', ');
          const bad = [...answers.keys()].some((answer) => typeof answer !== 'number' || (answer >= 400 && answer !== 404 && answer !== 410));
          box.append(make('ul', { class: 'hop' }, make('li', {}, make('span', { class: 'arrow' }, '↳ redirected to '), make('code', {}, show(host, 200))), make('li', { class: bad && 'bad' }, said)));
        }
        const item = make('li', {}, box);
        if (place + 1 < asked.length) item.append(between(entry));
        picture.append(item);
      });
      const value = list ? make('p', {}, make('code', {}, `GOPROXY=${show(list)}`)) : null;
      if (asked.length) at('walk').append(...[value, picture].filter(Boolean));
    }
    if (!at('walk').children.length) at('walk').append(make('p', {}, 'No entry was asked.'));
  }
  function between(entry) {
    const arrow = document.createElementNS(SVG, 'svg');
    arrow.setAttribute('viewBox', '0 0 60 12'); arrow.setAttribute('aria-hidden', 'true');
    const line = document.createElementNS(SVG, 'path');
    line.setAttribute('d', entry.onward ? 'M2 6H57M50 1l7 5-7 5' : 'M2 6H40M46 1V11');
    arrow.append(line);
    const rule = { '|': 'after any error', ',': 'after 404, 410' }[entry.separator];
    return make('div', { class: `between ${entry.onward ? 'used' : ''}` },
      make('span', {}, rule ? make('code', {}, entry.separator) : '', rule ? ` ${rule}` : ''), arrow,
      make('span', {}, entry.onward ? `${entry.onward.toLocaleString('en')} × went on` : 'never went on'));
  }
  function kind(outcome) {
    return ['ok', 'cached'].includes(outcome) ? 'good' : ['not-found', 'unknown', 'unfinished', 'canceled'].includes(outcome) ? '' : 'bad';
  }

  // ---- the requests: a list of which only what is in view is in the document ------------------------
  const list = at('list'), canvas = at('rows');
  const state = { items: [], from: 0, to: 1, chosen: -1, only: null, drawn: '' };
  {
    const hosts = new Map();
    for (const { request } of rows) hosts.set(request.host, (hosts.get(request.host) ?? 0) + 1);
    for (const [host] of [...hosts].sort((a, b) => b[1] - a[1]).slice(0, 500)) at('host').append(make('option', { value: host }, show(host, 80)));
  }
  const KINDS = {
    all: () => true,
    failed: (row) => row.failed,
    redirects: ({ request }) => isRedirected(request) || request.cause === 'redirect',
    again: ({ request }) => ['auth-resend', 'transport-retry'].includes(request.cause),
  };
  function filter() {
    const words = at('search').value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = KINDS[at('kind').value], host = at('host').value, group = at('group').value;
    const kept = rows.filter((row) => (!state.only || state.only.has(row.request.id)) && wanted(row)
      && (!host || row.request.host === host) && words.every((word) => searched(row).includes(word)));
    const items = [];
    if (group === 'none') kept.forEach((row) => items.push({ row }));
    else {
      const groups = new Map();
      for (const row of kept) {
        const key = group === 'module' ? `${row.chain.process} ${row.subject}` : row.request.connection ?? 'none';
        if (!groups.has(key)) groups.set(key, []);
        groups.get(key).push(row);
      }
      for (const [key, members] of groups) {
        items.push({ head: group === 'module' ? members[0].subject : named(key), members });
        const ordered = group === 'module' ? [...members].sort((a, b) => a.chain.id - b.chain.id || a.start - b.start) : members;
        for (const row of ordered) items.push({ row });
      }
    }
    items.forEach((item, place) => { if (item.row) item.row.place = place; });
    rows.forEach((row) => { row.shown = false; });
    kept.forEach((row) => { row.shown = true; });
    state.items = items;
    state.from = kept.reduce((least, row) => Math.min(least, row.start), Infinity);
    state.to = kept.reduce((most, row) => Math.max(most, row.end), 0);
    if (!kept.length) { state.from = 0; state.to = 1; }
    state.to = Math.max(state.to, state.from + 1e5);
    state.chosen = -1;
    state.drawn = '';
    at('shown').textContent = kept.length === rows.length ? count(rows.length, 'request') : `${kept.length.toLocaleString('en')} of ${count(rows.length, 'request')}`;
    at('clear').hidden = !state.only;
    list.scrollTop = 0;
    layout();
  }
  function named(connection) {
    const made = connections.get(connection);
    if (!made) return 'no connection';
    return `${made.host ?? '?'} ${made.remote_addr ?? ''} ${made.protocol ?? ''}`;
  }
  let height = 26;
  function layout() {
    height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue('--row')) || 26;
    canvas.style.height = `${state.items.length * height}px`;
    list.style.height = `${Math.max(80, state.items.length * height + 2)}px`;
    state.drawn = '';
    draw();
    ticks();
  }
  const place = (ns) => (ns - state.from) / (state.to - state.from) * 100;
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / height) - 8);
    const last = Math.min(state.items.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + 8);
    const key = `${first} ${last} ${state.chosen}`;
    if (key === state.drawn) return;
    state.drawn = key;
    const parts = [];
    for (let index = first; index < last; index += 1) parts.push(state.items[index].row ? line(index) : head(index));
    canvas.replaceChildren(...parts);
    grid(first, last);
    arrows(first, last);
    const chosen = state.chosen >= first && state.chosen < last ? `item${state.chosen}` : null;
    if (chosen) list.setAttribute('aria-activedescendant', chosen); else list.removeAttribute('aria-activedescendant');
  }
  function option(index, className, label, ...children) {
    const element = make('div', { class: className + (index === state.chosen ? ' chosen' : ''), role: 'option', id: `item${index}`, 'aria-label': label,
      'aria-selected': index === state.chosen ? 'true' : 'false', 'aria-setsize': state.items.length, 'aria-posinset': index + 1 }, ...children);
    element.style.top = `${index * height}px`;
    element.dataset.index = index;
    return element;
  }
  function head(index) {
    const { head: title, members } = state.items[index];
    const failed = members.filter((row) => row.failed).length;
    const from = members.reduce((least, row) => Math.min(least, row.start), Infinity), to = members.reduce((most, row) => Math.max(most, row.end), 0);
    const about = `${count(members.length, 'request')}${failed ? `, ${failed} failed` : ''}, ${time(to - from)}`;
    return option(index, 'head', `${show(title, 200)}, ${about}`, show(title, 200), make('span', {}, about));
  }
  function split(url) {
    const [, scheme, host, path] = /^([^:/?#]+):\/\/([^/?#]*)(.*)$/su.exec(url.slice(0, 8192)) ?? [null, '', '', url];
    return [scheme === 'https' ? host : scheme ? `${scheme}://${host}` : '', path];
  }
  function line(index) {
    const { row } = state.items[index], { request } = row;
    const [host, path] = split(request.url), narrow = height > 30, answer = String(request.status ?? request.outcome);
    const track = make('span', { class: 'track' });
    let from = row.start;
    for (const [name, ns] of row.segments) {
      const part = make('i', { class: name });
      part.style.left = `${place(from)}%`;
      part.style.width = `${ns / (state.to - state.from) * 100}%`;
      track.append(part);
      from += ns;
    }
    const tone = row.failed ? 'bad' : row.healed ? 'faint' : isRedirected(request) ? 'arrow' : request.outcome === 'ok' ? 'good' : 'missing';
    // Where there is little room, the group says which module it is.
    const asked = (request.method === 'GET' ? '' : `${show(request.method, 20)} `) + (narrow && at('group').value === 'module'
      ? `${show(host, 60)} ${row.chain.artifact}` : (narrow ? show(host, 60) : '') + show(path || request.url, 400));
    const again = KINDS.again(row) ? make('span', { class: 'again', title: request.cause }, ' ↻') : null;
    const label = `${answer} ${request.method} ${show(request.url, 300)}, ${request.cause}, ${time(request.duration_ns) || 'no answer'}, ${show(row.subject, 100)}`;
    return option(index, 'row', label,
      make('span', { class: `status ${tone}`, title: row.healed && 'asked again, and then it came' }, show(answer, 20)),
      make('span', { class: 'mono where', title: show(host, 300) }, show(host, 120)),
      make('span', { class: 'mono', title: show(request.url, 600) }, asked, again),
      track, make('span', { class: 'time' }, time(request.duration_ns) || 'no answer'));
  }
  // The times of the ruler, behind the bars in view.
  function grid(first, last) {
    const sample = canvas.querySelector('.track');
    if (!sample) return;
    const box = sample.getBoundingClientRect(), left = box.left - canvas.getBoundingClientRect().left;
    const picture = document.createElementNS(SVG, 'svg');
    picture.setAttribute('aria-hidden', 'true');
    for (const ns of times(box.width)) {
      const x = left + place(ns) / 100 * box.width;
      stroke(picture, 'grid', `M${x} ${first * height}V${last * height}`);
    }
    canvas.prepend(picture);
  }
  // From the end of a 3xx to the beginning of what obeys it; across hosts in another colour.
  function arrows(first, last) {
    const sample = canvas.querySelector('.track');
    if (!sample) return;
    const box = sample.getBoundingClientRect(), left = box.left - canvas.getBoundingClientRect().left;
    const picture = document.createElementNS(SVG, 'svg');
    picture.setAttribute('aria-hidden', 'true');
    const narrow = box.top - sample.parentElement.getBoundingClientRect().top > 4 ? 33 : height / 2;
    for (let index = first; index < last; index += 1) {
      const { row } = state.items[index];
      if (!row || row.request.cause !== 'redirect') continue;
      const from = rowOf.get(row.request.follows);
      if (!from?.shown) continue;
      const x1 = left + place(from.start + (from.request.duration_ns ?? 0)) / 100 * box.width, y1 = from.place * height + narrow;
      const x2 = left + place(row.start) / 100 * box.width, y2 = index * height + narrow;
      const across = from.request.host !== row.request.host ? 'across' : '';
      const bend = Math.min(14, 6 + Math.abs(y2 - y1) / 8), lane = Math.max(left - 8, Math.min(x1, x2) - bend);
      stroke(picture, across, `M${x1} ${y1}C${lane} ${y1 + 4} ${lane} ${y2} ${x2 - 5} ${y2}`);
      stroke(picture, `tip ${across}`, `M${x2 - 6} ${y2 - 3.5}L${x2} ${y2}L${x2 - 6} ${y2 + 3.5}Z`);
    }
    canvas.append(picture);
  }
  function stroke(picture, className, d) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('class', className.trim());
    path.setAttribute('d', d);
    picture.append(path);
  }
  function ticks() {
    const sample = canvas.querySelector('.track');
    at('ticks').replaceChildren();
    if (!sample) return;
    const box = sample.getBoundingClientRect(), left = box.left - list.getBoundingClientRect().left;
    at('ticks').style.left = `${left}px`;
    at('ticks').style.width = `${box.width}px`;
    const all = times(box.width);
    for (const ns of all) {
      // One that would be cut at the edge says nothing.
      if ((100 - place(ns)) / 100 * box.width < 48) continue;
      const tick = make('span', {}, all.step < 1e8 ? `${Math.round(ns / 1e5) / 10} ms` : `${Math.round(ns / 1e7) / 100} s`);
      tick.style.left = `${place(ns)}%`;
      at('ticks').append(tick);
    }
  }
  // Round times in what is shown, so many that each has room.
  function times(width) {
    const wanted = (state.to - state.from) / Math.max(2, width / 90);
    const step = [1, 2, 5, 10].map((n) => n * 10 ** Math.floor(Math.log10(wanted))).find((n) => n >= wanted);
    const all = Object.assign([], { step });
    for (let ns = Math.ceil(state.from / step) * step; ns < state.to; ns += step) all.push(ns);
    return all;
  }
  function choose(index) {
    if (!state.items.length) return;
    state.chosen = Math.max(0, Math.min(state.items.length - 1, index));
    const top = state.chosen * height;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
    draw();
  }
  // A finding's requests, whatever was filtered before; or a group's, of those that are shown.
  function only(ids, label, anew = true) {
    state.only = ids;
    at('clear').textContent = `✕ ${label}`;
    if (anew) { at('search').value = ''; at('kind').value = 'all'; at('host').value = ''; }
    filter();
    if (anew) at('requests').scrollIntoView();
    list.focus({ preventScroll: true });
  }
  function details(index) {
    const item = state.items[index];
    if (item?.members) only(new Set(item.members.map((row) => row.request.id)), `${show(item.head, 80)} alone`, false);
    if (!item?.row) return;
    const { request, attempt, chain, segments } = item.row, made = connections.get(request.connection), process = processes.get(chain.process);
    const facts = [
      ['URL', request.url], ['answer', `${request.status ?? '—'} ${request.outcome}`], ['Location', request.location],
      ['after the redirect', request.after_redirect], ['cause', request.cause + (request.follows == null ? '' : `, after request ${request.follows}`)],
      ['wanted', `${item.row.subject} (${chain.artifact}): ${chain.outcome}`], ['entry of GOPROXY', attempt.proxy], ['why go went on', attempt.reason],
      ['error', request.error && [request.error.detail, request.error.types.join(' → ')].filter(Boolean).join('\n')],
      ['times', segments.map(([name, ns]) => `${name} ${time(ns)}`).join(', ')], ['began', time(request.started_ns)],
      ['body', request.body_bytes ?? request.content_length],
      ['connection', made && `${made.local_addr ?? '?'} → ${made.remote_addr ?? '?'}, ${count(made.requests, 'request')}${made.tls?.version ? `, ${made.tls.version}` : ''}`],
      ['protocol', request.protocol], ['headers', Object.entries(request.headers).map(([name, value]) => `${name}: ${value}`).join('\n')],
      ['go', process && [`${process.go_version ?? ''}${pid(process)}`.trim(), process.argv.join(' ')].filter(Boolean).join(': ')], ['cut', request.cut.join(', ')],
    ].filter(([, value]) => value != null && value !== '');
    const close = () => { at('details').hidden = true; list.focus({ preventScroll: true }); };
    at('details').replaceChildren(make('button', { type: 'button', class: 'close', onclick: close }, 'close'), make('h3', {}, `Request ${request.id}`),
      make('dl', {}, ...facts.flatMap(([name, value]) => [make('dt', {}, name), make('dd', { class: 'mono' }, ...lines(value))])));
    at('details').hidden = false;
    at('details').scrollIntoView({ block: 'nearest' });
  }
  list.addEventListener('scroll', () => requestAnimationFrame(draw), { passive: true });
  addEventListener('resize', layout);
  list.addEventListener('click', (event) => {
    const item = event.target.closest('[data-index]');
    if (item) { choose(Number(item.dataset.index)); details(state.chosen); }
  });
  list.addEventListener('keydown', (event) => {
    const page = Math.max(1, Math.floor(list.clientHeight / height) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) choose(state.chosen + steps[event.key]);
    else if (event.key === 'Enter' || event.key === ' ') details(state.chosen);
    else if (event.key === 'Escape' && !at('details').hidden) at('details').hidden = true;
    else if (event.key === 'Escape' && state.only) { state.only = null; filter(); } else return;
    event.preventDefault();
  });
  at('details').addEventListener('keydown', (event) => { if (event.key === 'Escape') { at('details').hidden = true; list.focus(); } });
  at('tools').addEventListener('submit', (event) => event.preventDefault());
  let typing;
  at('search').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(filter, 120); });
  for (const id of ['kind', 'host', 'group']) at(id).addEventListener('change', filter);
  at('clear').addEventListener('click', () => { state.only = null; filter(); });
  filter();

  // ---- hosts ---------------------------------------------------------------------------------
  {
    const hosts = new Map();
    for (const row of rows) {
      const { request } = row;
      const host = hosts.get(request.host) ?? hosts.set(request.host, { requests: 0, good: 0, redirects: 0, missing: 0, healed: 0, failed: 0, times: [], addresses: new Set(), connections: new Set() }).get(request.host);
      host.requests += 1;
      if (isRedirected(request)) host.redirects += 1;
      else if (request.outcome === 'not-found') host.missing += 1;
      else if (row.healed) host.healed += 1;
      else if (row.failed) host.failed += 1;
      else host.good += 1;
      if (request.duration_ns != null) host.times.push(request.duration_ns);
      if (request.remote_addr) host.addresses.add(request.remote_addr);
      if (request.connection != null) host.connections.add(request.connection);
    }
    const names = ['host', 'requests', 'ok', 'redirects', '404, 410', 'asked again', 'failed', 'median', 'slowest', 'connections', 'addresses'];
    at('hosts').append(make('thead', {}, make('tr', {}, ...names.map((name) => make('th', { scope: 'col' }, name)))));
    const body = make('tbody');
    for (const [name, host] of [...hosts].sort((a, b) => b[1].requests - a[1].requests).slice(0, 500)) {
      host.times.sort((a, b) => a - b);
      const number = (value, className) => make('td', { class: value && className }, value ? value.toLocaleString('en') : '');
      body.append(make('tr', {}, make('td', {}, show(name, 200)), number(host.requests), number(host.good, 'good'), number(host.redirects, 'arrow'), number(host.missing, 'missing'), number(host.healed), number(host.failed, 'bad'),
        make('td', {}, time(host.times[Math.floor(host.times.length / 2)])), make('td', {}, time(host.times.at(-1))), number(host.connections.size),
        make('td', {}, make('code', {}, show([...host.addresses].slice(0, 4).join(', '), 200)))));
    }
    at('hosts').append(body);
  }

  // ---- the run -------------------------------------------------------------------------------
  {
    const about = at('about');
    // The finding has every reason; a trace that nobody has diagnosed has the numbers alone.
    const missed = trace.findings.find((finding) => finding.code === 'PT900')?.message
      ?? `${count(trace.capture.lost, 'event')} lost, ${count(trace.capture.attach.reduce((all, one) => all + one.missing.length, 0), 'probe')} missing`;
    about.append(make('p', { class: 'faint' }, `proxytrace ${show(trace.proxytrace, 40)}${trace.kernel && ` on Linux ${show(trace.kernel, 80)}`}${trace.started_at && `, ${show(trace.started_at, 40)}`}. `
      + (trace.capture.complete ? 'The capture is complete.' : `The capture is not complete: ${show(missed)}.`)));
    for (const process of trace.processes.filter((process) => process.go_version != null).slice(0, 200)) {
      const settings = Object.entries(process.config).filter(([, setting]) => setting.origin !== 'default');
      about.append(make('details', {}, make('summary', {}, `${show(process.go_version, 40)}${pid(process)}: ${show(process.argv.join(' '), 200)}`),
        ...settings.map(([name, setting]) => make('p', {}, make('code', {}, `${show(name, 80)}=${show(setting.value)}`), make('span', { class: 'faint' }, ` ${setting.origin}`))),
        process.stderr_tail ? make('p', {}, 'The last that it wrote to stderr:') : null,
        ...(process.stderr_tail ?? '').split('\n').filter(Boolean).slice(-40).map((line) => make('p', { class: 'said' }, make('code', {}, show(line))))));
    }
  }
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
