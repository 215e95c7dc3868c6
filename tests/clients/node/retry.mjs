// One picture by OpenAI's official client with a short timeout and its two default retries; prints what came of it.
import OpenAI from "openai";

const [baseURL, apiKey, timeoutSeconds] = process.argv.slice(2);
const client = new OpenAI({ apiKey, baseURL, timeout: Number(timeoutSeconds) * 1000 });
try {
  const made = await client.images.generate({ model: "painter", prompt: "a fox" });
  console.log(JSON.stringify({ pictures: made.data.length, charged: made.usage.credits_charged }));
} catch (error) {
  console.log(JSON.stringify({ error: error.constructor.name, status: error.status ?? null }));
}
