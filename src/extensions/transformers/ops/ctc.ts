/** What models with a head for CTC and `ctcLoss` of the entry point `sound` have in common. */
export interface CTCSettings {
  /** The class that stands for no character. */
  blank: number;
  zeroInfinity: boolean;
}

/** The settings in the config of a model; `undefined` if it has no padding token, which is the blank. */
export function ctcSettings(config: Readonly<Record<string, unknown>>): CTCSettings | undefined {
  const {pad_token_id: blank = 0, ctc_zero_infinity: zeroInfinity} = config;
  return Number.isSafeInteger(blank) && (blank as number) >= 0
    ? {blank: blank as number, zeroInfinity: zeroInfinity === true}
    : undefined;
}
