//! Configuration files: the templates of `compose/`, compiled in, and the values of this run.
//!
//! A name without a value, or a value that the template does not ask for, is a mistake of ours and
//! is refused: a part must never start with half a configuration.

use crate::StackError;

/// `text` with each `{{name}}` replaced by its value.
pub(crate) fn render(
    template: &'static str,
    text: &str,
    values: &[(&str, &str)],
) -> Result<String, StackError> {
    let mut rendered = text.replace("{{…}}", "What was in braces");
    for (name, value) in values {
        let placeholder = format!("{{{{{name}}}}}");
        if !rendered.contains(&placeholder) {
            return Err(StackError::Template { template, name: (*name).to_owned() });
        }
        rendered = rendered.replace(&placeholder, value);
    }
    match rendered.split_once("{{") {
        None => Ok(rendered),
        Some((_, rest)) => {
            let name = rest.split("}}").next().unwrap_or_default().to_owned();
            Err(StackError::Template { template, name })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_gets_its_values() {
        let rendered = render("t", "# {{…}}\nport = {{port}}\n", &[("port", "5432")]).unwrap();
        assert_eq!(rendered, "# What was in braces\nport = 5432\n");
    }

    #[test]
    fn a_name_without_a_value_is_refused() {
        assert!(render("t", "port = {{port}}", &[]).is_err());
    }

    #[test]
    fn a_value_without_a_name_is_refused() {
        assert!(render("t", "port = 1", &[("port", "5432")]).is_err());
    }
}
