/** The lines of a table with columns as wide as their widest cell. */
export function inColumns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(cells => cells[column]?.length ?? 0)));
  return rows.map(cells =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** How much of a model trains, in PEFT's wording. */
export function countsLine(trainable: number, total: number): string {
  const share = ((100 * trainable) / total).toFixed(4);
  return `trainable params: ${count(trainable)} || all params: ${count(total)} || trainable%: ${share}`;
}

/** A whole number with thousands separators. */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}

/** A number to four digits. */
export function fourDigits(value: number): string {
  return String(Number(value.toPrecision(4)));
}
