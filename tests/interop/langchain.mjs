// Makes the messages of [text of a manifest, list of inputs] pairs, a JSON list on standard input, with npm's
// `@langchain/core`; writes them with the metadata. The library is looked for from the folder that this runs in.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { load } = createRequire(join(process.cwd(), "package.json"))("@langchain/core/load");
const roles = { human: "user", ai: "assistant", system: "system" };
const rendered = [];
for (const [text, fillings] of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    const prompt = await load(text, { secretsMap: {}, secretsFromEnv: false });
    const messages = [];
    for (const inputs of fillings) {
      const value = await prompt.invoke(inputs);
      messages.push(value.toChatMessages().map((each) => ({ role: roles[each._getType()], content: each.content })));
    }
    rendered.push({ messages, metadata: prompt.metadata });
  } catch (error) {
    rendered.push({ error: String(error) });
  }
}
process.stdout.write(JSON.stringify(rendered));
