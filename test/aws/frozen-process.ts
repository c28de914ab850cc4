/** Asks the URL given twice, the second time when the first is answered, and waits so many milliseconds for both; says what came of it. */
import { systemClock } from "../../lib/aws/system-clock.ts";

const [url, ms] = process.argv.slice(2);
const ask = async (): Promise<string> => (await fetch(url!)).text();
const answer = ask().then(ask);
const found = await systemClock().atMost(Number(ms), answer);
process.stdout.write(found === null ? "late" : found.value);
process.exit();
