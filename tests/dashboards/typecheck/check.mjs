// Writes each dashboard as TypeScript that claims to be what Grafana's schema wants, and lets the compiler judge.
//
// node check.mjs <directory with node_modules> <empty directory> <dashboard.json>...
import { spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = { heatmap: "HeatmapPanel", logs: "LogsPanel", row: "Row", stat: "StatPanel", "state-timeline": "StateTimelinePanel", table: "TablePanel", timeseries: "TimeSeriesPanel" };
const [modules, work, ...files] = process.argv.slice(2);
copyFileSync(join(dirname(fileURLToPath(import.meta.url)), "schema.ts"), join(work, "schema.ts"));
symlinkSync(join(modules, "node_modules"), join(work, "node_modules"));

for (const file of files) {
  const dashboard = JSON.parse(readFileSync(file, "utf8"));
  const panels = dashboard.panels.map((panel) => {
    const type = TYPES[panel.type];
    if (!type) throw new Error(`${file}: no type for panels of kind ${panel.type}`);
    return `export const panel${panel.id}: schema.${type} = ${JSON.stringify(panel, null, 2)};`;
  });
  const board = `export const board: schema.Board = ${JSON.stringify(dashboard, null, 2)};`;
  writeFileSync(join(work, basename(file, ".json") + ".ts"), ['import type * as schema from "./schema";', board, ...panels].join("\n\n") + "\n");
}

const compilerOptions = { strict: true, noEmit: true, skipLibCheck: true, module: "esnext", moduleResolution: "bundler", target: "es2022", types: [] };
writeFileSync(join(work, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
const tsc = spawnSync(process.execPath, [join(modules, "node_modules/typescript/bin/tsc"), "--project", work], { stdio: "inherit" });
process.exit(tsc.status ?? 1);
