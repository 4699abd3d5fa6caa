// Parses AsyncAPI documents with the reference parser; prints its errors and warnings, and exits
// with 1 if there are any.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const INFORMATION = 2; // What is less severe: that there is a newer version of AsyncAPI.

for (const source of process.argv.slice(2)) {
  const { diagnostics } = await new Parser().parse(readFileSync(source, 'utf8'), { source });
  for (const { severity, path, message } of diagnostics) {
    if (severity < INFORMATION) {
      console.log(`${source}: ${path.join('.')}: ${message}`);
      process.exitCode = 1;
    }
  }
}
