// Puts lines of the audit log on top as they come. Without it, the page shows those that there were.
const MOST = 500; // rows
const table = document.getElementById("log");
const body = table.tBodies[0];
const state = document.getElementById("state");

function cell(row, label, text, address) {
  const made = row.insertCell();
  if (label) made.dataset.label = label;
  if (text === "") return made;
  const inside = address ? made.appendChild(document.createElement("a")) : made;
  if (address) {
    inside.href = address;
    inside.className = "mono";
  }
  inside.textContent = text;
  return made;
}

function add(line) {
  const row = body.insertRow(0);
  row.className = "new";
  row.insertCell().appendChild(document.createElement("time")).textContent = line.time;
  cell(row, "Event", line.event).className = "strong";
  cell(row, "Device", line.device, `/audit?device=${encodeURIComponent(line.device)}`);
  cell(row, "Client ID", line.client_id, `/devices/${encodeURIComponent(line.client_id)}`);
  cell(row, "Registration", String(line.registration), `/audit?registration=${encodeURIComponent(line.registration)}`);
  cell(row, "What", line.rest);
}

const source = new EventSource(table.dataset.stream);
source.addEventListener("open", () => {
  state.textContent = "The newest first, as it grows";
});
source.addEventListener("error", () => {
  state.textContent = "Not connected: what comes now is missing here";
});
source.addEventListener("message", (event) => {
  JSON.parse(event.data).forEach(add);
  while (body.rows.length > MOST) body.deleteRow(-1);
});
addEventListener("pagehide", () => source.close());
