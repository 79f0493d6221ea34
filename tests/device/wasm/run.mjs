// Runs a script of the checkout on a MicroPython of tools/fetch_interpreters: `node run.mjs INTERPRETER SCRIPT [ARGUMENT]...`.
//
// INTERPRETER is its folder. SCRIPT stands in tests/device of a checkout, whose folders device and tests are copied into
// the interpreter's file system: not every version can see the machine's. The exit status is the script's.

import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";

const [interpreter, script, ...args] = process.argv.slice(2);
const home = resolve(interpreter);
const root = resolve(script, "../../..");
const { loadMicroPython } = await import(`${home}/micropython.mjs`);
const micropython = await loadMicroPython({ heapsize: 4 << 20, url: `${home}/micropython.wasm`, stdout: (line) => console.log(line) });

function copy(folder) {
    micropython.FS.mkdir(`/checkout${folder}`);
    for (const entry of readdirSync(root + folder, { withFileTypes: true })) {
        const name = `${folder}/${entry.name}`;
        if (entry.isDirectory()) {
            copy(name);
        } else if (/\.(py|json)$/.test(name)) {
            micropython.FS.writeFile(`/checkout${name}`, readFileSync(root + name));
        }
    }
}
micropython.FS.mkdir("/checkout");
for (const folder of ["/device", "/tests"]) {
    copy(folder);
}

const path = "/checkout" + resolve(script).slice(root.length);
const program = `
import sys
sys.argv[:] = ${JSON.stringify([path, ...args])}
status = 0
try:
    with open(sys.argv[0]) as file:
        exec(file.read(), {"__name__": "__main__", "__file__": sys.argv[0]})
except SystemExit as exit:
    status = exit.args[0]
with open("/status", "w") as file:
    file.write(str(status))
`;
try {
    await micropython.runPython(program);
    process.exitCode = Number(micropython.FS.readFile("/status", { encoding: "utf8" }));
} catch (error) {
    console.error(error.message);
    process.exitCode = 1;
}
