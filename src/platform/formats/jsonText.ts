// JSON.parse silently keeps the last of two equal keys, so search its text for them.

/** The keys that occur twice in one object of a JSON text. The text must be one that `JSON.parse` accepts. */
export function duplicateKeys(json: string): string[] {
  const scopes: Set<string>[] = [];
  const twice: string[] = [];
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === '{') {
      scopes.push(new Set());
    } else if (character === '}') {
      scopes.pop();
    } else if (character === '"') {
      const end = textEnd(json, i);
      if (nextCharacter(json, end) === ':') {
        const key = JSON.parse(json.slice(i, end)) as string;
        const scope = scopes.at(-1);
        if (scope?.has(key)) {
          twice.push(key);
        }
        scope?.add(key);
      }
      i = end - 1;
    }
  }
  return twice;
}

/** How deeply objects and lists are nested in a text, whether it is JSON or not. */
export function nesting(json: string): number {
  let depth = 0;
  let deepest = 0;
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === '"') {
      i = textEnd(json, i) - 1;
    } else if (character === '{' || character === '[') {
      deepest = Math.max(deepest, ++depth);
    } else if (character === '}' || character === ']') {
      depth--;
    }
  }
  return deepest;
}

/** The index after a quoted text that begins at `start`. */
function textEnd(json: string, start: number): number {
  let i = start + 1;
  while (i < json.length && json[i] !== '"') {
    i += json[i] === '\\' ? 2 : 1;
  }
  return Math.min(i + 1, json.length);
}

function nextCharacter(json: string, from: number): string | undefined {
  let i = from;
  while (json[i] === ' ' || json[i] === '\n' || json[i] === '\r' || json[i] === '\t') {
    i++;
  }
  return json[i];
}
