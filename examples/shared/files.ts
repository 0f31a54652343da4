export interface NamedFile {
  name: string;
  content: Blob;
}

/** Gives files to the visitor, as downloads. */
export function download(...files: readonly NamedFile[]): void {
  for (const {name, content} of files) {
    const url = URL.createObjectURL(content);
    const link = document.createElement('a');
    Object.assign(link, {href: url, download: name});
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may take its time
  }
}

/** Takes files from an input, and from whatever is dropped on the page. */
export function onFiles(input: HTMLInputElement, zone: HTMLElement, take: (files: File[]) => void): void {
  input.addEventListener('change', () => {
    const files = [...(input.files ?? [])];
    input.value = ''; // the same file may come again
    if (files.length > 0) {
      take(files);
    }
  });
  document.addEventListener('dragover', event => {
    event.preventDefault();
    zone.classList.add('over');
  });
  document.addEventListener('dragleave', event => {
    if (event.relatedTarget === null) {
      zone.classList.remove('over');
    }
  });
  document.addEventListener('drop', event => {
    event.preventDefault();
    zone.classList.remove('over');
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length > 0) {
      take(files);
    }
  });
}
