// Predict the rows of a table: node predict.js MODEL.json TABLE.csv
import { readFileSync } from "node:fs";
import { Model } from "mpigd";

const [, , path, table] = process.argv;
const model = new Model(JSON.parse(readFileSync(path, "utf8")));
const [names, ...lines] = readFileSync(table, "utf8").trim().split(/\r?\n/).map((line) => line.split(","));
const rows = lines.map((cells) => Object.fromEntries(names.map((name, j) => [name, Number(cells[j])])));
for (const y of model.predict(rows)) console.log(y);
