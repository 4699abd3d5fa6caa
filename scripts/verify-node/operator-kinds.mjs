/**
 * Checks the Prometheus operator's objects among Kubernetes manifests: `node operator-kinds.mjs FILE...`
 *
 * Values are checked by the schemas of the package, which let unknown keys pass; those are found by
 * the compiler, as excess properties of the package's types.  Fails also when it finds no object.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as kinds from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import ts from "typescript";
import { parseAllDocuments } from "yaml";

const GROUP = "monitoring.coreos.com/v1";
const PACKAGE = `@kubernetes-models/prometheus-operator/${GROUP}`;

function objectsOf(file) {
  return parseAllDocuments(readFileSync(file, "utf8"))
    .map((document) => document.toJS())
    .filter((object) => object?.apiVersion === GROUP);
}

function wrongValues(object) {
  if (!kinds[object.kind]) return [`no such kind: ${object.kind}`];
  try {
    new kinds[object.kind](object).validate();
    return [];
  } catch (error) {
    return error.message.split("\n");
  }
}

/** The compiler's complaints about all objects, each of which becomes a typed constant. */
function wrongKeys(objects) {
  // Beside node_modules, where the compiler looks for the package.
  const directory = mkdtempSync(join(import.meta.dirname, "node_modules", ".kinds-"));
  const file = join(directory, "objects.ts");
  const imports = [...new Set(objects.map(({ kind }) => kind))].map((kind) => `I${kind}`);
  const lines = objects.map(
    (object, n) => `export const o${n}: I${object.kind} = ${JSON.stringify(object)};`,
  );
  writeFileSync(file, [`import type { ${imports} } from "${PACKAGE}";`, ...lines].join("\n"));
  try {
    const program = ts.createProgram([file], {
      module: ts.ModuleKind.NodeNext,
      noEmit: true,
      skipLibCheck: true,
      strict: true,
      types: [],
    });
    return ts
      .getPreEmitDiagnostics(program)
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const objects = process.argv.slice(2).flatMap(objectsOf);
const problems = objects.flatMap(wrongValues);
if (objects.length === 0) problems.push("no object of the Prometheus operator found");
else problems.push(...wrongKeys(objects));
if (problems.length > 0) {
  console.error(problems.join("\n"));
  process.exit(1);
}
