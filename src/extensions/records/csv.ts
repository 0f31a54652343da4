/** A row of a table, and the line in which it begins. */
export interface Row {
  readonly line: number;
  readonly cells: readonly string[];
  /** What is wrong with it. */
  readonly fault: string | undefined;
}

/**
 * The rows of a table as RFC 4180 describes it: cells in quotes may contain delimiters, line breaks, and doubled
 * quotes. Lines may end as on any system, the last one without an ending; empty lines are no rows.
 */
export function rowsOf(text: string, delimiter: string): Row[] {
  const rows: Row[] = [];
  let [at, line] = [0, 1];
  const plain = new RegExp(`[^${delimiter}\\r\\n]*`, 'y');
  const plainFrom = (start: number) => {
    plain.lastIndex = start;
    return plain.exec(text)?.[0] ?? '';
  };
  while (at < text.length) {
    const start = at;
    const cells: string[] = [];
    let fault: string | undefined;
    do {
      at += cells.length > 0 ? 1 : 0; // the delimiter
      let cell = '';
      if (text[at] === '"') {
        const parts: string[] = [];
        do {
          const end = text.indexOf('"', at + 1);
          fault ??= end < 0 ? 'a quote is not closed' : undefined;
          parts.push(text.slice(at + 1, end < 0 ? undefined : end));
          at = end < 0 ? text.length : end + 1;
        } while (text[at] === '"');
        cell = parts.join('"');
        fault ??= plainFrom(at) === '' ? undefined : 'text follows a closing quote';
      }
      const more = plainFrom(at);
      at += more.length;
      cells.push(cell + more);
    } while (text[at] === delimiter);
    at += text.startsWith('\r\n', at) ? 2 : 1;
    if (cells.length > 1 || cells[0] !== '' || fault !== undefined) {
      rows.push({line, cells, fault});
    }
    line += (text.slice(start, at).match(/\r\n|\r|\n/g) ?? []).length;
  }
  return rows;
}
