// Drives waule's images by OpenAI's official client and prints what came of it as JSON.
import OpenAI, { toFile } from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ apiKey, baseURL, maxRetries: 0 });
const model = "painter";
const told = {};

async function refused(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return { status: error.status ?? null, code: error.code ?? null, param: error.param ?? null };
  }
}

async function events(stream) {
  const found = [];
  for await (const event of stream) {
    found.push({ type: event.type, size: event.size, format: event.output_format, bytes: event.b64_json.length, usage: event.usage });
  }
  return found;
}

const made = await client.images.generate({ model, prompt: "a fox", n: 2, size: "1024x1024", response_format: "b64_json" });
told.generated = made.data.map((image) => image.b64_json.length);
told.charged = made.usage.credits_charged;

const picture = () => toFile(Buffer.from(made.data[0].b64_json, "base64"), "fox.png", { type: "image/png" });
const edited = await client.images.edit({ model, prompt: "in snow", image: await picture() });
told.edited = edited.data[0].url;
const several = await client.images.edit({ model, prompt: "in snow", image: [await picture(), await picture()], n: 1 });
told.editedFromTwo = several.data.length;

told.streamed = await events(await client.images.generate({ model, prompt: "a fox", stream: true, size: "auto" }));
told.editStreamed = await events(await client.images.edit({ model, prompt: "in snow", image: await picture(), stream: true }));

told.variation = await refused(async () => client.images.createVariation({ model, image: await picture() }));
told.chat = await refused(() => client.chat.completions.create({ model, messages: [{ role: "user", content: "hello" }] }));
told.unsupported = await refused(() => client.images.generate({ model: "gemini-image", prompt: "x", background: "transparent" }));
told.models = (await client.models.list()).data.map((each) => each.id).sort();
console.log(JSON.stringify(told));
