// Renders [text of a file, inputs] pairs, a JSON list on standard input, with npm's `dotprompt`; writes their messages.
// The library is looked for from the folder that this runs in.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { Dotprompt } = createRequire(join(process.cwd(), "package.json"))("dotprompt");
const pairs = JSON.parse(readFileSync(0, "utf8"));
const rendered = [];
for (const [text, input] of pairs) {
  try {
    const { messages, output, config, ext } = await new Dotprompt().render(text, { input });
    rendered.push({
      messages: messages.map(({ role, content }) => ({
        role: role === "model" ? "assistant" : role,
        content: content.map((part) => part.text ?? JSON.stringify(part)).join(""),
      })),
      schema: output?.schema ?? null,
      config: config ?? null,
      fingerprint: ext?.optimizer?.provenance?.fingerprint ?? null,
    });
  } catch (error) {
    rendered.push({ error: String(error) });
  }
}
process.stdout.write(JSON.stringify(rendered));
