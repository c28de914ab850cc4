/** QRY-2, ING-8: reading strongly, within a bound and with a token, one accident at every single effect. */
import { exploreAll } from "./every-effect.ts";
import { readings } from "./reading.ts";

exploreAll(...readings.map(({ name }) => name));
