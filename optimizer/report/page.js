"use strict";

/* The interactive part of a study's page: which examples came out how under which prompts, and what was sent.

   Everything the data say is put into the page as text, never as markup. */
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const texts = read("page-texts");
  const language = document.documentElement.lang;
  const data = read("study-data");
  const { arms, examples, strings } = data;

  /* ---- Words and figures -------------------------------------------------------------------------------------- */

  const told = (values, name) => (typeof values[name] === "number" ? integer(values[name]) : String(values[name]));
  const t = (text, values = {}) => (texts[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => told(values, name));
  const integer = (n) => new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(n);
  const decimal = (n, digits) =>
    new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(rounded(n, digits));

  // The tables of the page round what lies in the middle to the even digit; browsers round it away from nothing.
  function rounded(n, digits) {
    const inTheMiddle = Math.abs(n * 2 ** (digits + 1)) % 2 === 1;
    if (!inTheMiddle) return Number(n.toFixed(digits));
    const below = Math.floor(n * 10 ** digits);
    return (below + Math.abs(below % 2)) / 10 ** digits;
  }

  // Controls, formatting characters such as those that turn text round, lone halves of characters, and separators of
  // lines and paragraphs: none of them shows what it does. Two joiners are text: scripts are spelled with them, and emoji.
  const unshown = /(?![\n\t\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
  const shown = (text) => text.replace(unshown, "\ufffd");

  // What is read as one character, such as an emoji of several, is not cut in two.
  const segmenter = Intl.Segmenter ? new Intl.Segmenter(language) : null;
  const signs = (text) => (segmenter ? [...segmenter.segment(text)].map((each) => each.segment) : [...text]);
  const inOneLine = (text) => text.replace(/\s+/g, " ");

  function oneLine(text, longest) {
    const found = signs(inOneLine(text.slice(0, 4 * longest)));
    if (text.length > 4 * longest) found.pop(); // it may be half of one
    return shown(found.slice(0, longest).join(""));
  }

  // A name among others, without its middle where it is long: those of one kind often begin alike.
  function elided(text, longest) {
    const line = inOneLine(text);
    const found = signs(line.length > 8 * longest ? `${line.slice(0, 4 * longest)}${line.slice(-4 * longest)}` : line);
    if (found.length <= longest) return shown(line);
    const last = Math.floor((longest - 1) / 2);
    return shown(`${found.slice(0, longest - 1 - last).join("")}…${found.slice(-last).join("")}`);
  }

  const outcomes = {
    ok: t("ok"), invalid: t("invalid"), refused: t("refused"),
    truncated: t("truncated"), error: t("error"), unscored: t("unscored"),
  };
  const endings = { stop: t("it stopped by itself"), length: t("it was cut off"), refused: t("it refused") };

  /* ---- Elements ----------------------------------------------------------------------------------------------- */

  const byId = (id) => document.getElementById(id);

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  function button(label, act, attributes = {}) {
    const made = make("button", { type: "button", ...attributes }, label);
    made.addEventListener("click", act);
    return made;
  }

  function option(value, label, selected) {
    const made = make("option", { value }, label);
    made.selected = selected;
    return made;
  }

  // How much of a text is shown at first: a long one would hold up the page, and few read it to its end.
  const FOLDED = 4000;

  function passage(text) {
    const box = make("div", { class: "passage" });
    const body = make("pre", { tabindex: "0", translate: "no", dir: "auto", lang: "" });
    const folded = text.length > FOLDED;
    body.textContent = shown(folded ? text.slice(0, FOLDED) + " …" : text);
    box.append(body);
    if (folded) {
      const more = button(t("Show all {n} characters", { n: text.length }), () => {
        body.textContent = shown(text);
        body.classList.add("whole");
        more.remove();
        body.focus();
      });
      box.append(more);
    }
    return box;
  }

  function copier(label, text) {
    const made = button(label, async () => {
      await copy(text(), made);
      made.textContent = t("Copied");
      setTimeout(() => { made.textContent = label; }, 1500);
    });
    made.classList.add("copy");
    return made;
  }

  async function copy(text, beside) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = make("textarea", { "aria-hidden": "true", class: "unseen" });
      field.value = text;
      beside.after(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      beside.focus();
    }
  }

  /* ---- What was sent ------------------------------------------------------------------------------------------ */

  const WORD_JOINER = "\u2060";

  // A word joiner after the first character of every control token, overlapping ones too, so that none is left whole.
  function neutralised(text, tokens) {
    const starts = new Set();
    for (const token of tokens) {
      for (let at = text.indexOf(token); at >= 0; at = text.indexOf(token, at + 1)) starts.add(at);
    }
    if (!starts.size) return text;
    let made = "", from = 0;
    for (const at of [...starts].sort((a, b) => a - b)) {
      const end = at + (text.codePointAt(at) > 0xffff ? 2 : 1);
      made += text.slice(from, end) + WORD_JOINER;
      from = end;
    }
    return made + text.slice(from);
  }

  function valueOf(name, inputs, completions, shots) {
    const colon = name.indexOf(":");
    const kind = name.slice(0, colon), key = name.slice(colon + 1);
    if (kind === "image") return key;
    if (kind === "input") return inputs[key];
    if (kind === "completion") return completions[Number(key)];
    const next = key.indexOf(":");
    return strings[shots[Number(key.slice(0, next))][key.slice(next + 1)]];
  }

  function filled(message, inputs, completions, shots) {
    const several = message.parts.filter((part) => part.image).length > 1;
    let text = "";
    const images = [];
    for (const part of message.parts) {
      if (typeof part === "string") {
        text += part;
        continue;
      }
      const value = valueOf(part.hole, inputs, completions, shots);
      const lead = part.lead ?? "", tail = part.tail ?? "";
      if (!value) continue;
      if (part.image) {
        images.push(value);
        text += lead + (several ? `[image ${images.length}]` : "") + tail;
      } else {
        text += lead + neutralised(value, part.neutralise) + tail;
      }
    }
    if (!images.length) return { role: message.role, content: text };
    const content = images.map((url) => ({ type: "image_url", image_url: { url } }));
    if (text) content.push({ type: "text", text });
    return { role: message.role, content };
  }

  // The messages of every call that was made for an example, as far as the completions before it are known.
  function messages(arm, example) {
    const cell = cells[arm][example];
    const said = (cell[6] ?? []).map((call) => strings[call[0]]);
    const inputs = Object.create(null);
    data.inputs.forEach((name, k) => { inputs[name] = strings[examples[example][2][k]]; });
    const shots = arms[arm].shots?.[example] ?? [];
    const made = cell[6] === null ? 1 : cell[1] === data.outcomes.indexOf("error") ? said.length + 1 : said.length;
    return arms[arm].calls.slice(0, made).map((call) =>
      call.messages.map((message) => filled(message, inputs, said, shots)));
  }

  /* ---- Differences, word by word ------------------------------------------------------------------------------ */

  const words = (text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];

  // How many words may be changed before two texts count as different altogether.
  const MOST_CHANGES = 1500;

  // Pieces [kind, text], kind -1 for what is left out, 0 for what stays, 1 for what is added (Myers, 1986).
  function differences(before, after) {
    const a = words(before), b = words(after);
    let start = 0, enda = a.length, endb = b.length;
    while (start < enda && start < endb && a[start] === b[start]) start++;
    while (enda > start && endb > start && a[enda - 1] === b[endb - 1]) { enda--; endb--; }
    const pieces = [[0, a.slice(0, start).join("")]];
    pieces.push(...shortest(a.slice(start, enda), b.slice(start, endb)));
    pieces.push([0, a.slice(enda).join("")]);
    return merged(pieces);
  }

  function shortest(a, b) {
    const most = Math.min(a.length + b.length, MOST_CHANGES);
    const traces = [];
    let reach = new Map([[1, 0]]);
    for (let d = 0; d <= most; d++) {
      traces.push(new Map(reach));
      for (let k = -d; k <= d; k += 2) {
        const down = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
        let x = down ? reach.get(k + 1) : reach.get(k - 1) + 1;
        while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
        reach.set(k, x);
        if (x >= a.length && x - k >= b.length) return walked(a, b, traces);
      }
    }
    return [[-1, a.join("")], [1, b.join("")]];
  }

  function walked(a, b, traces) {
    const pieces = [];
    let x = a.length, y = b.length;
    for (let d = traces.length - 1; d >= 0; d--) {
      const reach = traces[d], k = x - y;
      const down = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
      const back = down ? k + 1 : k - 1, fromx = reach.get(back) ?? 0, fromy = fromx - back;
      while (x > fromx && y > fromy && x > 0 && y > 0) { pieces.push([0, a[--x]]); y--; }
      if (d === 0) break;
      if (down) pieces.push([1, b[--y]]);
      else pieces.push([-1, a[--x]]);
    }
    return pieces.reverse();
  }

  // Neighbours of one kind together; between two that stay, all that is left out before all that is added. A space
  // that stays between words that do not would only break up what belongs together.
  function merged(pieces) {
    const made = [];
    let out = "", added = "";
    const settle = () => {
      if (out) made.push([-1, out]);
      if (added) made.push([1, added]);
      out = added = "";
    };
    pieces.forEach(([kind, text], k) => {
      if (kind < 0) out += text;
      else if (kind > 0) added += text;
      else if (out && added && pieces[k + 1]?.[0] && !text.trim()) {
        out += text;
        added += text;
      } else if (text) {
        settle();
        if (made.length && made[made.length - 1][0] === 0) made[made.length - 1][1] += text;
        else made.push([0, text]);
      }
    });
    settle();
    return made;
  }

  function compared(before, after) {
    const body = make("pre", { class: "diff", tabindex: "0", translate: "no", dir: "auto", lang: "" });
    for (const [kind, text] of differences(before, after)) {
      body.append(kind === 0 ? shown(text) : make(kind < 0 ? "del" : "ins", {}, shown(text)));
    }
    return body;
  }

  /* ---- Results ------------------------------------------------------------------------------------------------ */

  const cells = data.cells.map((rows) => {
    const found = new Array(examples.length);
    for (const row of rows) found[row[0]] = row;
    return found;
  });
  const outcomeOf = (cell) => data.outcomes[cell[1]];
  const answerOf = (cell) => (cell[3] < 0 ? null : strings[cell[3]]);
  const failed = (cell) => cell[2] === null;
  const graded = cells.some((rows) => rows.some((cell) => cell && cell[2] !== null && cell[2] !== 0 && cell[2] !== 1));
  const isRight = (cell) => cell[2] >= 0.5;

  // How far all prompts that were asked differ about an example: the spread of their scores, then of their answers.
  const disagreement = examples.map((_, place) => {
    const found = cells.map((rows) => rows[place]).filter((cell) => cell && !failed(cell));
    const mean = found.reduce((sum, cell) => sum + cell[2], 0) / (found.length || 1);
    const spread = found.reduce((sum, cell) => sum + (cell[2] - mean) ** 2, 0) / (found.length || 1);
    return spread + 1e-6 * new Set(found.map((cell) => `${cell[1]} ${cell[3]}`)).size;
  });

  const STATUSES = [
    ["all", t("all")],
    ["differs", t("answers differ")],
    ["improved", t("improved")],
    ["regressed", t("got worse")],
    ["fails", t("fail everywhere")],
    ["right", t("right everywhere")],
    ["invalid", t("invalid")],
    ["cut", t("cut off or refused")],
    ["errors", t("errors")],
  ];
  const BIT = Object.fromEntries(STATUSES.map(([name], k) => [name, 1 << k]));

  function statusOf(place, chosen) {
    const found = chosen.map((arm) => cells[arm][place]).filter(Boolean);
    if (!found.length) return 0;
    const scored = found.filter((cell) => !failed(cell));
    const first = cells[chosen[0]][place];
    let bits = BIT.all;
    if (scored.some((cell) => cell[1] !== scored[0][1] || cell[3] !== scored[0][3])) bits |= BIT.differs;
    if (first && !failed(first)) {
      if (scored.some((cell) => cell[2] > first[2] + 1e-9)) bits |= BIT.improved;
      if (scored.some((cell) => cell[2] < first[2] - 1e-9)) bits |= BIT.regressed;
    }
    if (scored.length && !scored.some(isRight)) bits |= BIT.fails;
    if (scored.length && scored.every(isRight)) bits |= BIT.right;
    for (const cell of found) {
      const outcome = outcomeOf(cell);
      if (outcome === "invalid") bits |= BIT.invalid;
      if (outcome === "truncated" || outcome === "refused") bits |= BIT.cut;
      if (failed(cell)) bits |= BIT.errors;
    }
    return bits;
  }

  /* ---- What is looked at -------------------------------------------------------------------------------------- */

  const role = (name) => arms.findIndex((arm) => arm.role === name);
  const other = arms.findIndex((arm) => arm.role !== "baseline");
  const state = {
    chosen: [...new Set([Math.max(0, role("baseline")), role("winner") >= 0 ? role("winner") : other])].filter((k) => k >= 0),
    split: examples.length ? examples[0][1] : 0,
    status: "all",
    target: -1,
    slices: data.slices.map(() => -1),
    confusion: null,
    query: "",
    order: "data",
    current: -1,
  };
  let statuses = new Uint16Array(examples.length);
  let list = [];
  let lowered = null;

  function hits(query) {
    if (!query) return null;
    lowered ??= strings.map((text) => text.toLowerCase());
    return lowered.map((text) => text.includes(query));
  }

  function mentions(place, hit) {
    const [id, , inputs, target] = examples[place];
    if (hit[id] || hit[target] || inputs.some((k) => hit[k])) return true;
    return state.chosen.some((arm) => {
      const cell = cells[arm][place];
      return cell && ((cell[3] >= 0 && hit[cell[3]]) || (cell[6] ?? []).some((call) => hit[call[0]]));
    });
  }

  function confused(place) {
    const { arm, target, answer } = state.confusion;
    const cell = cells[arm][place];
    return cell && !failed(cell) && examples[place][3] === target && cell[3] === answer;
  }

  // Which examples pass, and for every choice of each filter how many would pass with it and all the others.
  function sifted() {
    const hit = hits(state.query.trim().toLowerCase());
    const bit = BIT[state.status];
    const counts = {
      status: STATUSES.map(() => 0), split: data.splits.map(() => 0), target: new Map(),
      slices: data.slices.map(() => new Map()),
    };
    const add = (map, key) => map.set(key, (map.get(key) ?? 0) + 1);
    const passed = [];
    examples.forEach(([, split, , target, slices], place) => {
      if (!statuses[place] || (hit && !mentions(place, hit)) || (state.confusion && !confused(place))) return;
      const misses = [];
      if (split !== state.split) misses.push("split");
      if (state.target >= 0 && target !== state.target) misses.push("target");
      if (!(statuses[place] & bit)) misses.push("status");
      state.slices.forEach((value, k) => { if (value >= 0 && slices[k] !== value) misses.push(k); });
      if (!misses.length) passed.push(place);
      if (misses.length > 1) return;
      const only = misses[0];
      if (only === undefined || only === "status") {
        STATUSES.forEach(([name], k) => { if (statuses[place] & BIT[name]) counts.status[k]++; });
      }
      if (only === undefined || only === "split") counts.split[split]++;
      if (only === undefined || only === "target") add(counts.target, target);
      slices.forEach((value, k) => { if (only === undefined || only === k) add(counts.slices[k], value); });
    });
    return { passed, counts };
  }

  const gainOf = (place) => {
    const found = [state.chosen[0], state.chosen[state.chosen.length - 1]].map((arm) => cells[arm][place]);
    return found.some((cell) => !cell || failed(cell)) ? 0 : found[1][2] - found[0][2];
  };
  const ORDERS = {
    data: [t("as in the data"), (a, b) => a - b],
    disagreement: [t("most disagreement first"), (a, b) => disagreement[b] - disagreement[a] || a - b],
    gain: [t("largest gain first"), (a, b) => gainOf(b) - gainOf(a) || a - b],
    loss: [t("largest loss first"), (a, b) => gainOf(a) - gainOf(b) || a - b],
  };

  function choose() {
    examples.forEach((_, place) => { statuses[place] = statusOf(place, state.chosen); });
    drawChosen();
    drawHead();
    sift();
    drawConfusion();
  }

  // What changes which answers are counted, or which of them is chosen.
  function confuse(pair) {
    state.confusion = pair;
    sift();
    drawConfusion();
  }

  function sift() {
    const { passed, counts } = sifted();
    list = passed.sort(ORDERS[state.order][1]);
    if (!list.includes(state.current)) state.current = -1;
    drawFilters(counts);
    drawFound();
    frame.scrollTop = 0;
    body.replaceChildren();
    drawn.clear();
    draw();
  }

  /* ---- Controls ----------------------------------------------------------------------------------------------- */

  const armLabel = (arm) => {
    const { name, score } = arms[arm];
    return score === null ? shown(name) : t("{name} · {score} on validation", { name: shown(name), score: decimal(score, 3) });
  };

  function drawChosen() {
    const box = byId("compared");
    const lists = state.chosen.map((chosen, k) => {
      const label = k ? t("prompt {n}", { n: k + 1 }) : t("compared with");
      const select = make("select", { "aria-label": label });
      arms.forEach((_, arm) => {
        if (arm === chosen || !state.chosen.includes(arm)) select.append(option(arm, armLabel(arm), arm === chosen));
      });
      select.addEventListener("change", () => {
        state.chosen[k] = Number(select.value);
        state.confusion = null;
        choose();
        byId("compared").querySelectorAll("select")[k].focus();
      });
      const remove = state.chosen.length > 2 && k > 0
        ? button("×", () => {
          state.chosen.splice(k, 1);
          state.confusion = null;
          choose();
          byId("add-prompt").focus();
        }, { "aria-label": t("Remove {name}", { name: shown(arms[chosen].name) }), class: "remove" })
        : null;
      return make("span", { class: "pick" }, make("span", { class: "label" }, label), select, remove);
    });
    box.replaceChildren(...lists);
    byId("add-prompt").hidden = state.chosen.length >= Math.min(4, arms.length);
  }

  function drawFilters(counts) {
    const pressed = (name) => String(state.status === name);
    const held = document.activeElement?.dataset?.status;
    byId("filters").replaceChildren(...STATUSES.map(([name, label], k) => {
      const made = button(label, () => { state.status = name; sift(); }, { "aria-pressed": pressed(name), "data-status": name });
      made.append(make("span", { class: "n" }, integer(counts.status[k])));
      return made;
    }));
    if (held) byId("filters").querySelector(`[data-status="${held}"]`).focus();
    fill(byId("split"), data.splits.map((name, k) => [k, `${splitName(name)} (${integer(counts.split[k])})`]), state.split);
    choices(byId("target"), counts.target, state.target);
    data.slices.forEach((_, k) => choices(byId(`slice-${k}`), counts.slices[k], state.slices[k]));
  }

  const splitName = (name) => (name === "test" ? t("test") : t("validation"));

  function fill(select, pairs, value) {
    select.replaceChildren(...pairs.map(([key, label]) => option(key, label, key === value)));
  }

  function choices(select, counts, value) {
    if (select.parentElement.hidden) return;
    const total = [...counts.values()].reduce((sum, n) => sum + n, 0);
    const pairs = [[-1, `${t("any")} (${integer(total)})`]];
    for (const key of select.values) pairs.push([key, `${elided(strings[key], 40)} (${integer(counts.get(key) ?? 0)})`]);
    fill(select, pairs, value);
  }

  // A filter is worth its place where it parts the examples into some values, not into hundreds.
  function offer(select, keys) {
    select.values = [...new Set(keys)].sort((a, b) => (strings[a] < strings[b] ? -1 : 1));
    select.parentElement.hidden = select.values.length < 2 || select.values.length > 100;
  }

  function drawFound() {
    const n = examples.filter(([, split], place) => split === state.split && statuses[place]).length;
    const chip = byId("chip");
    chip.hidden = !state.confusion;
    if (state.confusion) {
      const { arm, target, answer } = state.confusion;
      const values = { target: elided(strings[target], 40), name: shown(arms[arm].name), answer: answer < 0 ? t("unreadable") : elided(strings[answer], 40) };
      chip.textContent = `${t("target {target}, {name} answered {answer}", values)} ×`;
    }
    byId("found").textContent = t("{n} of {total} examples", { n: list.length, total: n });
  }

  /* ---- The list: only the rows that can be seen are in the page ----------------------------------------------- */

  const frame = byId("list");
  const table = frame.querySelector("table");
  const [head, above, body, below] = [table.tHead, ...table.tBodies];
  const drawn = new Map();
  let rowHeight = 44, printing = false;

  function drawHead() {
    const columns = [t("example"), data.inputs.map(shown).join(", "), t("target"), ...state.chosen.map((arm) => shown(arms[arm].name))];
    const row = make("tr");
    columns.forEach((name, k) => row.append(make("th", { scope: "col", class: ["id", "input", "target"][k] ?? "answer", title: name }, name)));
    if (state.chosen.length === 2) row.append(make("th", { scope: "col", class: "figure gain" }, t("difference")));
    head.replaceChildren(row);
    table.setAttribute("data-columns", String(state.chosen.length));
  }

  function marked(cell) {
    if (!cell) return [make("span", { class: "none" }, "–")];
    const score = failed(cell)
      ? make("span", { class: "mark none", title: t("no score") }, "?")
      : make("span", { class: isRight(cell) ? "mark right" : "mark wrong" }, graded ? decimal(cell[2], 2) : isRight(cell) ? "✓" : "✗");
    const answer = answerOf(cell);
    return [score, answer === null ? make("em", {}, outcomes[outcomeOf(cell)]) : oneLine(answer, 80)];
  }

  function rowOf(place, index) {
    const [id, , inputs, target] = examples[place];
    const opener = button(oneLine(strings[id], 60), () => open(place), { class: "opener" });
    const row = make("tr", { "aria-rowindex": index + 2, "data-place": place },
      make("th", { scope: "row", class: "id" }, opener),
      make("td", { class: "input" }, oneLine(inputs.map((k) => strings[k]).join(" · "), 160)),
      make("td", { class: "target" }, oneLine(strings[target], 80)),
      ...state.chosen.map((arm) => make("td", { class: "answer" }, ...marked(cells[arm][place]))));
    if (state.chosen.length === 2) {
      const both = state.chosen.every((arm) => cells[arm][place] && !failed(cells[arm][place]));
      const gain = gainOf(place);
      const sign = gain > 0 ? "+" : gain < 0 ? "−" : "";
      row.append(make("td", { class: `figure gain ${gain > 0 ? "up" : gain < 0 ? "down" : ""}` }, both ? sign + decimal(Math.abs(gain), graded ? 2 : 0) : "–"));
    }
    row.addEventListener("click", (event) => { if (event.target !== opener) open(place); });
    return row;
  }

  function draw() {
    const room = frame.clientHeight || 600;
    const first = printing ? 0 : Math.max(0, Math.floor(frame.scrollTop / rowHeight) - 6);
    const last = printing ? list.length : Math.min(list.length, Math.ceil((frame.scrollTop + room) / rowHeight) + 6);
    for (const [index, row] of drawn) {
      if (index < first || index >= last) {
        row.remove();
        drawn.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (drawn.has(index)) continue;
      const row = rowOf(list[index], index);
      drawn.set(index, row);
      let next = index + 1;
      while (next < last && !drawn.has(next)) next++;
      body.insertBefore(row, drawn.get(next) ?? null);
    }
    for (const [index, row] of drawn) row.classList.toggle("current", list[index] === state.current);
    above.rows[0].cells[0].style.height = `${first * rowHeight}px`;
    below.rows[0].cells[0].style.height = `${(list.length - last) * rowHeight}px`;
    table.setAttribute("aria-rowcount", String(list.length + 1));
    byId("nothing").hidden = list.length > 0;
    measure();
  }

  function measure() {
    const row = body.rows[0];
    const height = row ? row.getBoundingClientRect().height : 0;
    if (height > 8 && Math.abs(height - rowHeight) > 0.5 && !printing) {
      rowHeight = height;
      draw();
    }
  }

  let waiting = false;
  frame.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  });

  function go(step) {
    if (!list.length) return;
    const at = list.indexOf(state.current);
    const next = Math.min(list.length - 1, Math.max(0, at < 0 ? (step > 0 ? 0 : list.length - 1) : at + step));
    reveal(next);
    if (drawer.open) show(list[next]);
    else drawn.get(next)?.querySelector("button").focus();
  }

  function reveal(index) {
    state.current = list[index];
    const top = index * rowHeight, room = frame.clientHeight - head.offsetHeight;
    if (top < frame.scrollTop) frame.scrollTop = top;
    else if (top + rowHeight > frame.scrollTop + room) frame.scrollTop = top + rowHeight - room;
    draw();
  }

  /* ---- Which answers were given to which targets -------------------------------------------------------------- */

  function drawConfusion() {
    const box = byId("confusion");
    if (data.kind !== "label" || !examples.length) return;
    const held = document.activeElement?.dataset?.pair;
    box.replaceChildren(...state.chosen.map(confusionOf).filter(Boolean));
    if (held) box.querySelector(`[data-pair="${held}"]`)?.focus();
  }

  function confusionOf(arm) {
    const counts = new Map(), seen = new Set();
    cells[arm].forEach((cell, place) => {
      if (examples[place][1] !== state.split || failed(cell)) return;
      const key = `${examples[place][3]} ${cell[3]}`;
      seen.add(examples[place][3]).add(cell[3]);
      counts.set(key, (counts.get(key) ?? 0) + 1);
    });
    if (!counts.size) return null;
    const rank = (k) => { const at = data.labels.indexOf(strings[k]); return at < 0 ? data.labels.length : at; };
    const labels = [...seen].filter((k) => k >= 0).sort((a, b) => rank(a) - rank(b) || a - b);
    const most = Math.max(...counts.values());
    const caption = t("{name}: targets down, answers across", { name: shown(arms[arm].name) });
    const top = make("tr", {}, make("td"), ...labels.map((k) => make("th", { scope: "col", ...labelled(strings[k]) }, elided(strings[k], 24))), make("th", { scope: "col" }, make("em", {}, t("unreadable"))));
    const rows = labels.map((target) => make("tr", {}, make("th", { scope: "row", ...labelled(strings[target]) }, elided(strings[target], 24)),
      ...[...labels, -1].map((answer) => pairCell(arm, target, answer, counts.get(`${target} ${answer}`) ?? 0, most))));
    const grid = make("table", { class: "confusion" }, make("caption", {}, caption), make("thead", {}, top), make("tbody", {}, ...rows));
    return make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: "0" }, grid);
  }

  // The whole of a name that is cut, for whoever points at it.
  const labelled = (text) => ({ title: elided(text, 24) === shown(inOneLine(text)) ? undefined : shown(inOneLine(text)) });

  function pairCell(arm, target, answer, n, most) {
    if (!n) return make("td", { class: "figure empty" }, "·");
    const chosen = state.confusion && state.confusion.arm === arm && state.confusion.target === target && state.confusion.answer === answer;
    const values = { n, target: oneLine(strings[target], 200), answer: answer < 0 ? t("unreadable") : oneLine(strings[answer], 200) };
    const made = button(integer(n), () => {
      confuse(chosen ? null : { arm, target, answer });
    }, { "aria-pressed": String(Boolean(chosen)), "aria-label": t("{n} with target {target} answered {answer}", values), "data-pair": `${arm} ${target} ${answer}` });
    const cell = make("td", { class: `figure ${target === answer ? "same" : "other"}` }, made);
    cell.style.setProperty("--share", `${Math.round((60 * n) / most)}%`);
    return cell;
  }

  /* ---- One example -------------------------------------------------------------------------------------------- */

  const drawer = byId("drawer");

  function open(place) {
    reveal(list.indexOf(place));
    show(place);
    if (!drawer.open) drawer.showModal();
  }

  drawer.addEventListener("close", () => {
    const index = list.indexOf(state.current);
    if (index < 0) return;
    reveal(index);
    drawn.get(index)?.querySelector("button").focus();
  });

  function show(place) {
    const [id, , inputs, target, slices] = examples[place];
    const at = list.indexOf(place);
    byId("drawer-title").textContent = oneLine(strings[id], 80);
    byId("drawer-place").textContent = t("{n} of {total}", { n: at + 1, total: list.length });
    byId("previous").disabled = at <= 0;
    byId("next").disabled = at >= list.length - 1;
    const about = data.slices.map((name, k) => `${shown(name)}: ${oneLine(strings[slices[k]], 60)}`).join(" · ");
    byId("drawer-body").replaceChildren(
      make("div", { class: "given" },
        ...data.inputs.flatMap((name, k) => [make("h3", {}, shown(name)), passage(strings[inputs[k]])]),
        make("h3", {}, t("target")), passage(strings[target]),
        about ? make("p", { class: "note" }, about) : null),
      make("div", { class: "sides" }, ...state.chosen.map((arm) => side(arm, place))));
    byId("drawer-body").scrollTop = 0;
  }

  function side(arm, place) {
    const cell = cells[arm][place];
    const name = shown(arms[arm].name);
    const box = make("section", { "aria-label": name, class: "side" }, make("h3", {}, name));
    if (!cell) {
      box.append(make("p", { class: "note" }, t("This prompt was not asked about this example.")));
      return box;
    }
    const answer = answerOf(cell);
    box.append(make("p", { class: "answer" }, ...marked(cell)), figures(cell));
    if (answer !== null && answer.length > 80) box.append(passage(answer));
    box.append(...completions(arm, place), sent(arm, place));
    return box;
  }

  function figures(cell) {
    const facts = [];
    const fact = (name, value) => facts.push(make("dt", {}, name), make("dd", {}, value));
    fact(t("score"), failed(cell) ? t("no score") : decimal(cell[2], 3));
    fact(t("outcome"), outcomes[outcomeOf(cell)]);
    if (strings[cell[5]]) fact(t("read by"), `${shown(strings[cell[5]])}, ${cell[4] ? t("in exactly the form that was asked for") : t("not in the form that was asked for")}`);
    const calls = cell[6];
    if (calls && calls.length) {
      const sum = (k) => calls.reduce((total, call) => total + call[k], 0);
      if (calls.every((call) => call[2] !== null)) fact(t("tokens"), t("{read} read, {written} written", { read: sum(2), written: sum(3) }));
      fact(t("seconds"), decimal(sum(4), 3));
      fact(t("end"), endings[data.finished[calls[calls.length - 1][1]]]);
    }
    return make("dl", { class: "facts" }, ...facts);
  }

  function completions(arm, place) {
    const calls = cells[arm][place][6];
    if (calls === null) return [make("p", { class: "note" }, t("What the model wrote is no longer stored."))];
    const first = cells[state.chosen[0]][place];
    return calls.flatMap((call, k) => {
      const text = strings[call[0]];
      const title = calls.length > 1 ? t("Completion {n}", { n: k + 1 }) : t("Completion");
      const parts = [make("h4", {}, title, copier(t("Copy"), () => text)), passage(text)];
      const against = first && arm !== state.chosen[0] && first[6] && k === calls.length - 1 ? first[6][first[6].length - 1] : null;
      if (against && against[0] !== call[0]) {
        parts.push(unfolding(t("Differences from {name}", { name: shown(arms[state.chosen[0]].name) }),
          () => [compared(strings[against[0]], text)], text.length + strings[against[0]].length < FOLDED));
      }
      return parts;
    });
  }

  // Content that is made when it is first looked at.
  function unfolding(title, content, opened = false) {
    const box = make("details", { open: opened }, make("summary", {}, title));
    const unfold = () => { if (box.open && box.children.length === 1) box.append(...content()); };
    box.addEventListener("toggle", unfold);
    unfold();
    return box;
  }

  function sent(arm, place) {
    if (!arms[arm].calls.length) return make("p", { class: "note" }, t("What was sent was not kept by the version that sent it."));
    return unfolding(t("Messages that were sent"), () => {
      const asked = messages(arm, place);
      return asked.flatMap((call, k) => [
        make("h4", {}, asked.length > 1 ? t("Call {n}", { n: k + 1 }) : t("Call"), copier(t("Copy as JSON"), () => JSON.stringify(call, null, 2))),
        ...call.flatMap(({ role: who, content }) => [make("p", { class: "role" }, who), ...contents(content)]),
      ]);
    });
  }

  function contents(content) {
    if (typeof content === "string") return [passage(content)];
    return content.map((part) => passage(part.type === "text" ? part.text : `${t("image")}: ${part.image_url.url}`));
  }

  /* ---- Two prompts side by side ------------------------------------------------------------------------------- */

  function written(part) {
    return typeof part === "string" ? part : `${part.lead ?? ""}‹${part.hole}›${part.tail ?? ""}`;
  }

  // What a prompt says: to the system, as worked examples before the first input, and around the input and after it.
  function partsOf(arm) {
    const { instruction, demonstrations, calls, about, reading } = arms[arm];
    const sections = { system: [], style: [...about] };
    calls.forEach((call, k) => {
      let seen = k > 0;
      for (const message of call.messages) {
        seen ||= message.parts.some((part) => typeof part !== "string" && part.hole.startsWith("input:"));
        const said = message.parts.map(written).join("");
        if (message.role === "system") sections.system.push(said);
        else if (seen) sections.style.push(`${message.role}:\n${said}`);
      }
      const settings = Object.entries(call.parameters).map(([name, value]) => `${name} ${value}`);
      if (call.constraint) settings.push(JSON.stringify(call.constraint));
      if (settings.length) sections.style.push(settings.join(", "));
    });
    if (reading) sections.style.push(reading);
    return {
      system: sections.system.join("\n\n") || instruction,
      demonstrations: demonstrations.join("\n\n"),
      style: sections.style.join("\n"),
    };
  }

  function drawPair() {
    const [one, two] = ["pair-one", "pair-two"].map((id) => Number(byId(id).value));
    const [before, after] = [partsOf(one), partsOf(two)];
    const titles = { system: t("System"), demonstrations: t("Demonstrations"), style: t("Style, format and settings") };
    byId("pair").replaceChildren(...Object.entries(titles).flatMap(([name, title]) => [
      make("h3", {}, title),
      before[name] === after[name]
        ? make("p", { class: "note" }, before[name] ? t("The same in both.") : t("None in either."))
        : compared(before[name], after[name]),
    ]));
  }

  function preparePair() {
    if (arms.length < 2) return;
    ["pair-one", "pair-two"].forEach((id, k) => {
      fill(byId(id), arms.map((_, arm) => [arm, armLabel(arm)]), state.chosen[Math.min(k, state.chosen.length - 1)]);
      byId(id).addEventListener("change", drawPair);
    });
    drawPair();
    byId("prompts-compared").hidden = false;
  }

  /* ---- Tables that can be sorted ------------------------------------------------------------------------------ */

  function sortable(sorted) {
    [...sorted.tHead.rows[0].cells].forEach((cell, k) => {
      const label = cell.textContent.trim();
      cell.replaceChildren(button(label, () => {
        const down = cell.getAttribute("aria-sort") === "descending";
        for (const each of sorted.tHead.rows[0].cells) each.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", down ? "ascending" : "descending");
        const rows = [...sorted.tBodies[0].rows].map((row, place) => [row, place, keyOf(row.cells[k])]);
        rows.sort((a, b) => ordered(a[2], b[2], down ? 1 : -1) || a[1] - b[1]);
        sorted.tBodies[0].append(...rows.map(([row]) => row));
      }));
    });
  }

  function keyOf(cell) {
    if ("by" in cell.dataset) return cell.dataset.by === "" ? null : Number(cell.dataset.by);
    const text = cell.textContent.trim();
    return text === "–" ? null : text;
  }

  // What is unknown comes last, whichever way.
  function ordered(a, b, way) {
    if (a === null || b === null) return (a === null) - (b === null);
    return way * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), language, { numeric: true }));
  }

  /* ---- Keys --------------------------------------------------------------------------------------------------- */

  const help = byId("help");

  function typing(element) {
    return element.matches?.("input, select, textarea") ?? false;
  }

  const KEYS = {
    j: () => go(1),
    k: () => go(-1),
    "/": () => {
      drawer.close();
      byId("search").focus();
    },
    "?": () => { if (!help.open) help.showModal(); },
    Enter: () => { if (!drawer.open && state.current >= 0) open(state.current); },
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !examples.length) return;
    if (event.key === "Escape" && event.target === byId("search") && state.query) {
      byId("search").value = state.query = "";
      sift();
      return;
    }
    if (typing(event.target) || !(event.key in KEYS) || (help.open && event.key !== "?")) return;
    if (event.key === "Enter" && event.target !== document.body && event.target !== frame) return;
    event.preventDefault();
    KEYS[event.key]();
  });

  /* ---- Beginning ---------------------------------------------------------------------------------------------- */

  function prepare() {
    offer(byId("target"), examples.map((example) => example[3]));
    data.slices.forEach((name, k) => {
      const select = make("select", { id: `slice-${k}` });
      byId("slices-filters").append(make("label", {}, `${shown(name)} `, select));
      offer(select, examples.map((example) => example[4][k]));
      select.addEventListener("change", () => { state.slices[k] = Number(select.value); sift(); });
    });
    fill(byId("order"), Object.entries(ORDERS).map(([key, [label]]) => [key, label]), state.order);
    const change = (id, set) => byId(id).addEventListener("change", (event) => { set(event.target.value); sift(); });
    byId("split").addEventListener("change", (event) => {
      state.split = Number(event.target.value);
      confuse(null);
    });
    change("target", (value) => { state.target = Number(value); });
    change("order", (value) => { state.order = value; });
    byId("search").addEventListener("input", (event) => { state.query = event.target.value; sift(); });
    byId("add-prompt").addEventListener("click", () => {
      state.chosen.push(arms.findIndex((_, arm) => !state.chosen.includes(arm)));
      choose();
      byId("compared").querySelector(".pick:last-child select").focus();
    });
    byId("chip").addEventListener("click", () => { confuse(null); byId("search").focus(); });
    byId("clear").addEventListener("click", () => {
      Object.assign(state, { status: "all", target: -1, slices: data.slices.map(() => -1), query: "" });
      byId("search").value = "";
      confuse(null);
    });
    byId("previous").addEventListener("click", () => go(-1));
    byId("next").addEventListener("click", () => go(1));
    byId("close").addEventListener("click", () => drawer.close());
    byId("help-close").addEventListener("click", () => help.close());
    byId("help-open").addEventListener("click", () => help.showModal());
    if (graded) byId("graded").hidden = false;
    byId("explorer").hidden = false;
    choose();
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  preparePair();
  if (examples.length) {
    prepare();
    addEventListener("resize", draw);
    addEventListener("beforeprint", () => { printing = true; draw(); });
    addEventListener("afterprint", () => { printing = false; draw(); });
  }

  // For whoever reads the page with a program of their own.
  globalThis.study = Object.freeze({ messages, differences });
})();
