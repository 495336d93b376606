// What tests/test_bindings.py compares with Python: for each folder given, results of its model and rows.
import { readFileSync, writeFileSync } from "node:fs";
import { Model, erfc } from "mpigd";

const read = (path) => new Float64Array(new Uint8Array(readFileSync(path)).buffer);
const write = (path, numbers) => writeFileSync(path, new Uint8Array(Float64Array.from(numbers).buffer));

for (const folder of process.argv.slice(2)) {
  const model = new Model(JSON.parse(readFileSync(`${folder}/model.json`, "utf8")));
  const x = read(`${folder}/X`);
  const d = model.features.length;
  const rows = Array.from({ length: x.length / d }, (_, i) => x.subarray(i * d, (i + 1) * d));
  const put = (name, found) => write(`${folder}/javascript.${name}`, found.flat());

  put("eta", model.eta(rows));
  put("predict", model.predict(rows));
  const named = rows.map((row) => Object.fromEntries(model.features.map((name, j) => [name, row[j]]).reverse()));
  put("predict_named", model.predict(named));
  if (model.hasProbabilities) put("proba", model.predictProba(rows));
  write(`${folder}/javascript.erfc`, read(`${folder}/arguments`).map(erfc));

  const bad = [rows[0], rows[1].map((number, j) => (j === 0 ? NaN : number))];
  try {
    model.predict(bad);
  } catch (error) {
    writeFileSync(`${folder}/javascript.error`, `3 ${error.message}`);
  }
}
