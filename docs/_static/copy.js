// A button that copies a block of code; not at what a program prints. Browsers offer the clipboard to https and to files.
document.addEventListener("DOMContentLoaded", () => {
  if (!navigator.clipboard) return;
  for (const kind of ["bash", "python", "yaml"]) {
    for (const block of document.querySelectorAll(`.highlight-${kind} .highlight`)) {
      const text = block.innerText;
      const button = document.createElement("button");
      button.className = "copy";
      button.textContent = "copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(text);
        button.textContent = "copied";
        setTimeout(() => { button.textContent = "copy"; }, 1500);
      });
      block.append(button);
    }
  }
});
