// Keeps what a device has reported up to date, and notes what has changed while somebody looks.
const table = document.getElementById("properties");
const body = table.tBodies[0];
const seen = document.getElementById("seen");
const changes = document.getElementById("changes");
const history = document.getElementById("history");
const nothing = document.getElementById("nothing");
let first = true;

function note(since, text) {
  const line = document.createElement("li");
  line.appendChild(document.createElement("time")).textContent = since.slice(11, 19);
  line.append(text);
  history.prepend(line);
  changes.hidden = false;
}

function rowOf(name) {
  const found = [...body.rows].find((row) => row.dataset.property === name);
  if (found) return found;
  const row = body.insertRow();
  row.dataset.property = name;
  row.insertCell().textContent = name;
  row.insertCell().className = "strong";
  row.insertCell().appendChild(document.createElement("time"));
  return row;
}

function show(now) {
  if (!now.session) {
    note(new Date().toISOString(), "The session has ended.");
    source.close();
    return;
  }
  if (now.seen) seen.textContent = now.seen;
  const names = new Set(now.properties.map((property) => property.name));
  for (const row of [...body.rows]) {
    if (names.has(row.dataset.property)) continue;
    note(new Date().toISOString(), `${row.dataset.property}: taken away`);
    row.remove();
  }
  for (const property of now.properties) {
    const row = rowOf(property.name);
    const before = row.cells[1].textContent;
    if (before !== property.value && !first) {
      note(property.since, before ? `${property.name}: ${before} → ${property.value}` : `${property.name}: ${property.value}`);
      row.className = "new";
    }
    row.cells[1].textContent = property.value;
    row.cells[2].firstElementChild.textContent = property.since;
  }
  table.hidden = !now.properties.length;
  if (nothing) nothing.hidden = Boolean(now.properties.length);
  first = false;
}

const source = new EventSource(table.dataset.stream);
source.addEventListener("message", (event) => show(JSON.parse(event.data)));
source.addEventListener("error", () => {
  if (source.readyState === EventSource.CLOSED) note(new Date().toISOString(), "Not connected any more: reload the page.");
});
addEventListener("pagehide", () => source.close());
